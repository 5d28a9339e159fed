"""Several values to collect: the asked key occurs in several dictionaries, and the answer lists all its values.

Trains against stopping at the first match, or expecting only one: the question does not say how many there
are, so the whole haystack must be searched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field, PositiveInt

from needlework.tasks import planting
from needlework.tasks.dictionaries import ABOVE, OPENING, choose
from needlework.tasks.draft import Asked, Draft, Parts, text
from needlework.tasks.placing import check


@dataclass(frozen=True, slots=True)
class Collect:
    """The parameters of the task."""

    occurrences: tuple[Annotated[int, Field(ge=2)], ...] = (2, 3, 4)
    """Dictionaries that hold an asked key, drawn uniformly from these."""
    digits: tuple[PositiveInt, ...] = (3, 4)
    """Digits in keys and values: their number is drawn uniformly, then the number within it."""

    def draft(
        self,
        rng: np.random.Generator,
        capacity: int,
        num_needles: int = 1,
        *,
        depths: Sequence[float] | None = None,
    ) -> Draft:
        """Draw dictionaries in which each asked key occurs several times.

        The position of a needle is that of an arbitrary one of its dictionaries, which is where `depths` places it.
        It is not the first to appear: the first of several can never be at depth 1.

        Raises:
            UserError: If there are too few dictionaries for the needles, or the numbers run out.
        """
        check("collect", capacity, num_needles, self.min_items(num_needles), depths)
        counts = choose(rng.random(num_needles), self.occurrences).tolist()
        drawn = planting.numbers(rng, self.digits, num_needles, num_needles + sum(counts))
        keys, values = drawn[:num_needles], iter(drawn[num_needles:])
        groups = [[(key, next(values)) for _ in range(count)] for key, count in zip(keys, counts, strict=True)]

        def ask(number: int, places: list[int]) -> Asked:
            key = keys[number]
            asked = f"{ABOVE} Report all values of key ", key, " and the dictionaries they are in, in their order."
            found = sorted(zip(places, (value for _, value in groups[number]), strict=True))
            every = _list([(value, f" in {OPENING}", place + 1, "]") for place, value in found])
            return Asked(asked, ("The values of key ", key, " are ", *every, "."), (text(every),), places[0])

        return planting.plant("collect", rng, capacity, self.digits, groups, ask, depths=depths)

    def min_items(self, num_needles: int) -> int:
        """Return the fewest dictionaries that can hold the needles: one per occurrence, for the most occurrences."""
        return max(1, num_needles) * max(self.occurrences)


def _list(parts: list[Parts]) -> Parts:
    """Join two or more parts by commas and, before the last, "and"."""
    *before, last = parts
    listed = before[0]
    for each in before[1:]:
        listed += (", ", *each)
    return (*listed, " and ", *last)
