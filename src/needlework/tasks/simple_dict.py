"""Simple dictionary key-value retrieval (arXiv 2406.19292, section 3.1), with any number of needles.

The paper asks one question of each prompt. Here K gold pairs live in one haystack, so every gold key
is unique by construction: excluding only one key, as the official generator does, would leave most
3-digit keys ambiguous in a long haystack.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import NonNegativeFloat, PositiveInt

from needlework.errors import UserError
from needlework.haystack import Haystack, Needle

Integers = npt.NDArray[np.int64]

PREAMBLE = "Do a task using the list of dictionaries below."
QUESTION = (
    "Above is a list of dictionaries such that each key and value is an integer. "
    "Report the value of key {key} and the dictionary it is in."
)
TEMPLATE = (
    " Answer in the following template:\nThe value of key {key} is <fill-in-value> and it is in "
    "Dictionary [<fill-in-dictionary-name>]."
)
ANSWER = "The value of key {key} is {value} and it is in Dictionary [{name}]."


@dataclass(frozen=True, slots=True)
class SimpleDict:
    """The parameters of the task; the defaults are those of the official `simpledict` configuration."""

    template: bool = True
    """Show the answer's form in the question. The answer trained on is the same with and without."""
    keys_per_gold: PositiveInt = 3
    """Pairs in a dictionary that holds a needle."""
    keys_per_dict: tuple[PositiveInt, ...] = (3, 4)
    """Pairs in any other dictionary, drawn uniformly from these."""
    key_digits: tuple[PositiveInt, ...] = (3, 4)
    """Digits of a key: the number of digits is drawn first, then the key uniformly within it."""
    value_digits: tuple[PositiveInt, ...] = (3, 4)
    """Digits of a value, drawn the same way."""
    shuffle_names: bool = False
    """Name the dictionaries 1..n in random order instead of ascending (official: name_random)."""
    first_fraction: NonNegativeFloat = 0.05
    """Share of haystacks whose first needle is forced into the first dictionary (official: frac_0)."""
    front_fraction: NonNegativeFloat = 0.03
    """Share of haystacks whose first needle is forced among the first `front_size` (official: frac_top5)."""
    front_size: PositiveInt = 17
    """Dictionaries that count as the front. The official code uses positions 0..16, 5 % of its number of
    samples, although the name suggests 5 % of the dictionaries."""

    def __call__(
        self,
        rng: np.random.Generator,
        num_items: int,
        num_needles: int = 1,
        *,
        id: str = "0",
        depths: Sequence[float] | None = None,
    ) -> Haystack:
        """Make a haystack of `num_items` dictionaries with `num_needles` needles.

        Haystacks of the same generator state and different `num_items` hold the same dictionaries, in
        other places, and the longer one some more: token budgets rely on that.

        Args:
            rng: Source of all randomness.
            num_items: Dictionaries in the haystack.
            num_needles: Needles, at most `keys_per_gold` in each dictionary.
            id: The haystack's id; its needles are named `id/0`, `id/1`, …
            depths: Fixed relative depths (0 first, 1 last) of the needles, instead of random ones.

        Raises:
            UserError: If so many needles do not fit so few dictionaries, or the numbers run out.
        """
        self._check(num_items, num_needles)
        # One stream for each purpose, so that more dictionaries do not change the draws of the first.
        gold_rng, filler_rng, repair_rng, place_rng = rng.spawn(4)
        gold_keys = _distinct(gold_rng, self.key_digits, num_needles, avoid=())
        gold_values = _distinct(gold_rng, self.value_digits, num_needles, avoid=gold_keys)
        places = self._places(place_rng, num_items, num_needles, depths)

        # The gold dictionaries come first in `contents` whatever their places, so that growing the
        # haystack by one dictionary adds exactly one and changes none.
        gold_places = list(dict.fromkeys(places))
        contents = self._fill(filler_rng, repair_rng, num_items, len(gold_places), gold_keys, gold_values)
        row_of = {place: row for row, place in enumerate(gold_places)}
        others = iter(range(len(gold_places), num_items))
        order = [row_of[place] if place in row_of else next(others) for place in range(num_items)]
        slots = {place: iter(gold_rng.permutation(self.keys_per_gold).tolist()) for place in gold_places}
        for key, value, place in zip(gold_keys, gold_values, places, strict=True):
            contents[row_of[place]][next(slots[place])] = (key, value)

        names = list(range(1, num_items + 1))
        if self.shuffle_names:
            names = place_rng.permutation(names).tolist()
        items = tuple(_render(name, contents[row]) for name, row in zip(names, order, strict=True))
        needles = tuple(
            self._needle(f"{id}/{number}", key, value, place, names[place])
            for number, (key, value, place) in enumerate(zip(gold_keys, gold_values, places, strict=True))
        )
        return Haystack(id, "simple_dict", PREAMBLE, items, needles)

    def min_items(self, num_needles: int) -> int:
        """Return the fewest dictionaries that hold so many needles."""
        return max(1, -(-num_needles // self.keys_per_gold))

    def _check(self, num_items: int, num_needles: int) -> None:
        if num_items < 1 or num_needles < 1:
            raise UserError(f"simple_dict needs at least 1 dictionary and 1 needle, not {num_items} and {num_needles}.")
        if min(self.keys_per_gold, *self.keys_per_dict) < 1:
            raise UserError("A dictionary needs at least 1 key: raise keys_per_gold and keys_per_dict.")
        if num_needles > num_items * self.keys_per_gold:
            raise UserError(
                f"{num_needles} needles do not fit {num_items} dictionaries of {self.keys_per_gold} keys. "
                f"Ask for at most {num_items * self.keys_per_gold} needles, or more dictionaries."
            )
        for name, digits in (("key_digits", self.key_digits), ("value_digits", self.value_digits)):
            available = sum(9 * 10 ** (count - 1) for count in set(digits))
            # Gold values avoid the gold keys, and every distractor avoids both, with room to draw.
            needed = 2 * (2 * num_needles + self._width)
            if available < needed:
                raise UserError(
                    f"{name}={list(digits)} gives {available} numbers, but {num_needles} needles need {needed}. "
                    f"Allow more digits or ask for fewer needles."
                )

    @property
    def _width(self) -> int:
        return max(self.keys_per_gold, *self.keys_per_dict)

    def _places(
        self, rng: np.random.Generator, num_items: int, num_needles: int, depths: Sequence[float] | None
    ) -> list[int]:
        """Choose the dictionary of each needle: all different while there are enough dictionaries."""
        if depths is not None:
            if len(depths) != num_needles:
                raise UserError(f"{num_needles} needles were given {len(depths)} depths")
            places = [round(depth * (num_items - 1)) for depth in depths]
            if max(places.count(place) for place in places) > self.keys_per_gold:
                raise UserError(
                    f"{num_needles} depths share {num_items} dictionaries of {self.keys_per_gold} keys. "
                    f"Use more dictionaries or fewer depths."
                )
            return places
        rounds = -(-num_needles // num_items)
        places = [int(place) for _ in range(rounds) for place in rng.permutation(num_items)][:num_needles]
        draw, front = rng.random(), int(rng.integers(min(self.front_size, num_items)))
        if draw < self.first_fraction + self.front_fraction:
            wanted = 0 if draw < self.first_fraction else front
            # Swapping keeps the places different; the needle that held the wanted place moves.
            if wanted in places:
                other = places.index(wanted)
                places[0], places[other] = wanted, places[0]
            else:
                places[0] = wanted
        return places

    def _fill(
        self,
        rng: np.random.Generator,
        repair_rng: np.random.Generator,
        num_items: int,
        num_gold: int,
        gold_keys: list[int],
        gold_values: list[int],
    ) -> list[list[tuple[int, int]]]:
        """Draw the pairs of all dictionaries, the first `num_gold` gold; none has a gold key or value yet."""
        size_rng, key_rng, value_rng = rng.spawn(3)
        shape = num_items, self._width
        sizes = size_rng.choice(self.keys_per_dict, size=num_items).tolist()
        sizes[:num_gold] = [self.keys_per_gold] * num_gold
        keys = _integers(key_rng, self.key_digits, num_items * self._width).reshape(shape).tolist()
        values = _integers(value_rng, self.value_digits, num_items * self._width).reshape(shape).tolist()
        contents = []
        for size, row_keys, row_values in zip(sizes, keys, values, strict=True):
            pairs: dict[int, int] = {}
            for key, value in zip(row_keys[:size], row_values, strict=False):
                while key in gold_keys or key in pairs:
                    key = int(_integers(repair_rng, self.key_digits, 1)[0])
                while value in gold_values:
                    value = int(_integers(repair_rng, self.value_digits, 1)[0])
                pairs[key] = value
            contents.append(list(pairs.items()))
        return contents

    def _needle(self, id: str, key: int, value: int, place: int, name: int) -> Needle:
        question = QUESTION + TEMPLATE if self.template else QUESTION
        return Needle(
            id=id,
            group=id,
            question=question.format(key=key),
            answer=ANSWER.format(key=key, value=value, name=name),
            accepted=(str(value),),
            position=place,
        )


def _integers(rng: np.random.Generator, digits: Sequence[int], count: int) -> Integers:
    """Draw integers: the number of digits uniformly, then uniformly among the integers that have so many."""
    # Two draws of each row, so that a longer array starts with the shorter one.
    draws = rng.random((count, 2))
    chosen = np.asarray(digits)[(draws[:, 0] * len(digits)).astype(np.int64)]
    low = 10 ** (chosen - 1)
    numbers: Integers = low + (draws[:, 1] * 9 * low).astype(np.int64)
    return numbers


def _distinct(rng: np.random.Generator, digits: Sequence[int], count: int, avoid: Sequence[int]) -> list[int]:
    found: dict[int, None] = {}
    while len(found) < count:
        number = int(_integers(rng, digits, 1)[0])
        if number not in avoid:
            found[number] = None
    return list(found)


def _render(name: int, pairs: list[tuple[int, int]]) -> str:
    return f"Dictionary [{name}] {{{', '.join(f'{key}: {value}' for key, value in pairs)}}}"
