"""Chained lookup: the value of one key is the next key, in another dictionary, two to four times.

Trains against answering after one lookup, and against reading in one direction only: the next key may come
before the last one. The answer writes out every hop, so that each is a retrieval with its own evidence, like
answers to real multi-hop questions that restate their evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from typing import Annotated

import numpy as np
from pydantic import Field, PositiveInt

from needlework.tasks import planting
from needlework.tasks.dictionaries import ABOVE, choose, found
from needlework.tasks.draft import Asked, Draft
from needlework.tasks.placing import check


@dataclass(frozen=True, slots=True)
class Chain:
    """The parameters of the task."""

    hops: tuple[Annotated[int, Field(ge=2)], ...] = (2, 3, 4)
    """Lookups to the final value, drawn uniformly from these."""
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
        """Draw dictionaries that hold chains of pairs, each pair at a random place.

        The position of a needle is that of its final value, which is the only one accepted.

        Raises:
            UserError: If there are too few dictionaries for the needles, or the numbers run out.
        """
        check("chain", capacity, num_needles, self.min_items(num_needles), depths)
        hops = choose(rng.random(num_needles), self.hops).tolist()
        drawn = iter(planting.numbers(rng, self.digits, num_needles, num_needles + sum(hops)))
        chains = [list(pairwise(islice(drawn, count + 1))) for count in hops]

        def ask(number: int, places: list[int]) -> Asked:
            pairs = chains[number]
            until = ", then take the value as the next key, until you have looked up a key "
            report = " times. Report the value of each key and the dictionary it is in."
            asked = f"{ABOVE} Look up key ", pairs[0][0], until, len(pairs), report
            first, *others = [found(*pair, place + 1) for pair, place in zip(pairs, reversed(places), strict=True)]
            answer = (*first, *chain.from_iterable((" ", *each) for each in others))
            return Asked(asked, answer, (str(pairs[-1][1]),), places[0])

        # The final pair comes first, because a needle's position is that of its first pair.
        groups = [pairs[::-1] for pairs in chains]
        return planting.plant("chain", rng, capacity, self.digits, groups, ask, depths=depths)

    def min_items(self, num_needles: int) -> int:
        """Return the fewest dictionaries that can hold the needles: one for each hop of the longest chains."""
        return max(1, num_needles) * max(self.hops)
