"""The same key in several dictionaries with different values; the question names the dictionary.

Trains against taking the first, or the last, occurrence of what is asked: a model must bind the key to the
dictionary that the question names, just as real text states the same attribute of several things.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field, PositiveInt

from needlework.tasks import planting
from needlework.tasks.dictionaries import OPENING
from needlework.tasks.draft import Asked, Draft
from needlework.tasks.placing import check
from needlework.tasks.simple_dict import REPORT


@dataclass(frozen=True, slots=True)
class SameKey:
    """The parameters of the task."""

    occurrences: Annotated[int, Field(ge=2)] = 3
    """Dictionaries that hold each asked key."""
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
        """Draw dictionaries in which each asked key occurs several times; its position is that of the one named.

        Raises:
            UserError: If there are too few dictionaries for the needles, or the numbers run out.
        """
        check("same_key", capacity, num_needles, self.min_items(num_needles), depths)
        drawn = planting.numbers(rng, self.digits, num_needles, (1 + self.occurrences) * num_needles)
        keys, values = drawn[:num_needles], drawn[num_needles:]

        def ask(number: int, places: list[int]) -> Asked:
            key, value, place = keys[number], values[number], places[0]
            asked = REPORT, key, f" in {OPENING}", place + 1, "]."
            answer = "The value of key ", key, f" in {OPENING}", place + 1, "] is ", value, "."
            return Asked(asked, answer, (str(value),), place)

        groups = [[(key, value) for value in values[number::num_needles]] for number, key in enumerate(keys)]
        return planting.plant("same_key", rng, capacity, self.digits, groups, ask, depths=depths)

    def min_items(self, num_needles: int) -> int:
        """Return the fewest dictionaries that can hold the needles: one for each occurrence."""
        return max(1, num_needles) * self.occurrences
