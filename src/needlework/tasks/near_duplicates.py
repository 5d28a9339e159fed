"""Key-value retrieval among near duplicates: keys that differ from the asked one in a digit or in digit order.

Trains against matching by resemblance. The authors of arXiv 2406.19292 found no gain from relevant
distractors, but hard, confusable ones are the best-motivated upgrade of such data (arXiv 2501.08248).
Among random keys, the first two digits nearly suffice to find the right one; here all digits matter, and
so does their order. Question and answer are those of `simple_dict`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from needlework.tasks import planting
from needlework.tasks.dictionaries import found
from needlework.tasks.draft import Asked, Draft
from needlework.tasks.placing import check
from needlework.tasks.simple_dict import question


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """The parameters of the task."""

    template: bool = True
    """Show the form of the answer in the question. The training answer is the same either way."""
    digits: tuple[Annotated[int, Field(ge=1, le=6)], ...] = (3, 4)
    """Digits in keys and values, at most 6 because all permutations of a key are enumerated; drawn uniformly."""

    def draft(
        self,
        rng: np.random.Generator,
        capacity: int,
        num_needles: int = 1,
        *,
        depths: Sequence[float] | None = None,
    ) -> Draft:
        """Draw dictionaries that each hold a near duplicate of a gold key.

        Raises:
            UserError: If there are too few dictionaries for the needles, or the numbers run out.
        """
        check("near_duplicates", capacity, num_needles, self.min_items(num_needles), depths)
        drawn = planting.numbers(rng, self.digits, num_needles, 2 * num_needles)
        pairs = list(zip(drawn[::2], drawn[1::2], strict=True))

        def ask(number: int, places: list[int]) -> Asked:
            (key, value), (place,) = pairs[number], places
            answer = found(key, value, place + 1)
            return Asked(question(key, template=self.template), answer, (str(value),), place)

        groups = [[pair] for pair in pairs]
        near = [key for key, _ in pairs]
        return planting.plant("near_duplicates", rng, capacity, self.digits, groups, ask, depths=depths, near=near)

    def min_items(self, num_needles: int) -> int:
        """Return the fewest dictionaries that can hold the needles: one each."""
        return max(1, num_needles)
