"""Keys that may be absent: the answer says so, although near duplicates of the asked key are there.

Trains against making values up: a model that is always asked for what is there learns to always answer, with the
value of the most similar key. Present and absent keys are mixed and both have near duplicates, so neither the
question nor a resemblance tells which is which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from needlework.sections import Fraction
from needlework.tasks import planting
from needlework.tasks.dictionaries import found
from needlework.tasks.draft import Asked, Draft
from needlework.tasks.placing import check
from needlework.tasks.simple_dict import REPORT

PHRASE = "does not occur"
"""What an answer must say to be accepted if the key is absent."""


@dataclass(frozen=True, slots=True)
class Absent:
    """The parameters of the task."""

    absent_fraction: Fraction = 0.5
    """Probability that an asked key is absent, drawn for each needle."""
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
        """Draw dictionaries that each hold a near duplicate of an asked key, and the asked keys that are present.

        An absent key has position -1. If `depths` are given, all keys are present: what is absent has no depth.

        Raises:
            UserError: If there are too few dictionaries for the needles, or the numbers run out.
        """
        check("absent", capacity, num_needles, self.min_items(num_needles), depths)
        drawn = planting.numbers(rng, self.digits, num_needles, 2 * num_needles)
        pairs = list(zip(drawn[::2], drawn[1::2], strict=True))
        present = rng.random(num_needles) >= (self.absent_fraction if depths is None else 0)

        def ask(number: int, places: list[int]) -> Asked:
            key, value = pairs[number]
            asked = REPORT, key, f" and the dictionary it is in, or say that it {PHRASE}."
            if not places:
                return Asked(asked, ("Key ", key, f" {PHRASE} in any dictionary."), (PHRASE,), -1)
            return Asked(asked, found(key, value, places[0] + 1), (str(value),), places[0])

        groups = [[pair] if there else [] for pair, there in zip(pairs, present.tolist(), strict=True)]
        near = [key for key, _ in pairs]
        return planting.plant("absent", rng, capacity, self.digits, groups, ask, depths=depths, near=near)

    def min_items(self, num_needles: int) -> int:
        """Return the fewest dictionaries that can hold the needles: one each, whether present or not."""
        return max(1, num_needles)
