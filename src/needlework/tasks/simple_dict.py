"""Simple dictionary key-value retrieval (arXiv 2406.19292, section 3.1), with any number of needles.

The paper asks one question per prompt. Here one haystack holds K gold pairs, so every gold key is unique
by construction: excluding only one key, as the official generator does, would leave most 3-digit keys
ambiguous in a long haystack.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import PositiveInt

from needlework.sections import Fraction
from needlework.tasks import dictionaries
from needlework.tasks.dictionaries import ABOVE, CLOSING, FRAGMENTS, OPENING, PREAMBLE, Floats
from needlework.tasks.draft import Arrangement, Asked, Draft, Integers, Parts, Pieces
from needlework.tasks.placing import check_depths

REPORT = f"{ABOVE} Report the value of key "
TEMPLATE = (
    " and the dictionary it is in. Answer in the following template:\nThe value of key ",
    " is <fill-in-value> and it is in Dictionary [<fill-in-dictionary-name>].",
)


@dataclass(frozen=True, slots=True)
class SimpleDict:
    """The parameters of the task; the defaults are those of the official `simpledict` configuration."""

    template: bool = True
    """Show the form of the answer in the question. The training answer is the same either way."""
    keys_per_gold: PositiveInt = 3
    """Pairs in a dictionary that holds a needle."""
    keys_per_dict: tuple[PositiveInt, ...] = (3, 4)
    """Pairs in any other dictionary, drawn uniformly from these."""
    key_digits: tuple[PositiveInt, ...] = (3, 4)
    """Digits in a key: their number is drawn uniformly, then the key within it."""
    value_digits: tuple[PositiveInt, ...] = (3, 4)
    """Digits in a value, drawn the same way."""
    shuffle_names: bool = False
    """Number the dictionaries 1..n in random order instead of ascending (official: name_random)."""
    first_fraction: Fraction = 0.05
    """Share of haystacks whose first needle is forced into the first dictionary (official: frac_0)."""
    front_fraction: Fraction = 0.03
    """Share of haystacks whose first needle is forced into the first `front_size` (official: frac_top5)."""
    front_size: PositiveInt = 17
    """Number of dictionaries in the front. The official code uses positions 0..16: 5 % of its number of samples,
    although the name suggests 5 % of the dictionaries."""

    def draft(
        self,
        rng: np.random.Generator,
        capacity: int,
        num_needles: int = 1,
        *,
        depths: Sequence[float] | None = None,
    ) -> Draft:
        """Draw `capacity` dictionaries with `num_needles` gold pairs, spread over as many dictionaries as possible.

        Raises:
            UserError: If there are too few dictionaries for the needles, or the numbers run out.
        """
        (draft,) = self.drafts([rng], capacity, num_needles, depths=depths)
        return draft

    def drafts(
        self,
        rngs: Sequence[np.random.Generator],
        capacity: int,
        num_needles: int = 1,
        *,
        depths: Sequence[float] | None = None,
    ) -> list[Draft]:
        """Draw from each generator what `draft` would; array operations are done once for all of them.

        Raises:
            UserError: If there are too few dictionaries for the needles, or the numbers run out.
        """
        self._check(capacity, num_needles, depths)
        # One row of draws per dictionary, so that drawing more dictionaries does not change the first ones.
        draws = np.empty((len(rngs), capacity, 1 + 2 * self._width))
        drawn = [self._draw(rng, out, num_needles, depths) for rng, out in zip(rngs, draws, strict=True)]
        sizes = dictionaries.choose(draws[..., 0], self.keys_per_dict)
        sizes[:, : min(num_needles, capacity)] = self.keys_per_gold
        gold = [each.keys for each in drawn], [each.values for each in drawn]
        keys, values = dictionaries.pairs(
            draws[..., 1:].reshape(len(drawn), capacity, 2, self._width),
            (self.key_digits, self.value_digits),
            gold,
            [each.repair for each in drawn],
        )
        seats = np.arange(len(drawn))[:, None], [each.rows for each in drawn], [each.slots for each in drawn]
        keys[seats], values[seats] = gold
        contents = dictionaries.pieces(keys, values, sizes)
        return [
            Draft("simple_dict", PREAMBLE, Pieces(content, FRAGMENTS), self._arranging(each), OPENING, CLOSING)
            for content, each in zip(contents, drawn, strict=True)
        ]

    def _draw(
        self, rng: np.random.Generator, draws: Floats, num_needles: int, depths: Sequence[float] | None
    ) -> _Drawn:
        keys = dictionaries.distinct(rng, self.key_digits, num_needles)
        values = dictionaries.distinct(rng, self.value_digits, num_needles, avoid=keys)
        holders = min(num_needles, len(draws))
        rows, slots = dictionaries.seats(rng, num_needles, holders, self.keys_per_gold)
        place = dictionaries.placing(
            rng,
            holders,
            depths,
            shuffle_names=self.shuffle_names,
            first_fraction=self.first_fraction,
            front_fraction=self.front_fraction,
            front_size=self.front_size,
        )
        repair = dictionaries.seed(rng)
        rng.random(out=draws)
        return _Drawn(keys, values, rows, slots, place, repair)

    def _arranging(self, drawn: _Drawn) -> Callable[[int], Arrangement]:
        def arrange(num_items: int) -> Arrangement:
            places, names = drawn.place(num_items)
            needles = []
            for row, key, value in zip(drawn.rows, drawn.keys, drawn.values, strict=True):
                name = int(names[places[row]])
                answer = dictionaries.found(key, value, name)
                needles.append(Asked(question(key, template=self.template), answer, (str(value),), places[row]))
            return Arrangement(num_items, places, tuple(needles), names)

        return arrange

    def min_items(self, num_needles: int) -> int:
        """Return the fewest dictionaries that can hold the needles."""
        return max(1, -(-num_needles // self.keys_per_gold))

    @property
    def _width(self) -> int:
        return max(self.keys_per_gold, *self.keys_per_dict)

    def _check(self, num_items: int, num_needles: int, depths: Sequence[float] | None) -> None:
        dictionaries.check_seats("simple_dict", num_items, num_needles, self.keys_per_gold, self.keys_per_dict)
        check_depths(depths, min(num_items, num_needles), "dictionaries with needles")
        dictionaries.check_clashes(self.key_digits, self._width)
        # Gold values avoid the gold keys, and distractors avoid both; the factor of 2 leaves room to draw.
        needed = 2 * (2 * num_needles + self._width)
        dictionaries.check_numbers("key_digits", self.key_digits, num_needles, needed)
        dictionaries.check_numbers("value_digits", self.value_digits, num_needles, needed)


@dataclass(frozen=True, slots=True)
class _Drawn:
    """What is drawn for a draft, before it becomes dictionaries."""

    keys: list[int]
    values: list[int]
    """The gold pairs, [needles]."""
    rows: list[int]
    slots: list[int]
    """In which dictionary each of them is, and where in it, [needles]."""
    place: Callable[[int], tuple[list[int], Integers]]
    repair: int


def question(key: int, *, template: bool) -> Parts:
    """Ask for the value of a key and its dictionary, with the form of the answer or without."""
    if not template:
        return REPORT, key, " and the dictionary it is in."
    return REPORT, key, TEMPLATE[0], key, TEMPLATE[1]
