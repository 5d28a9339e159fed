"""Simple dictionary key-value retrieval (arXiv 2406.19292, section 3.1), with any number of needles.

The paper asks one question of each prompt. Here K gold pairs live in one haystack, so every gold key
is unique by construction: excluding only one key, as the official generator does, would leave most
3-digit keys ambiguous in a long haystack.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import NonNegativeFloat, PositiveInt

from needlework.errors import UserError
from needlework.tasks import dictionaries
from needlework.tasks.dictionaries import CLOSING, OPENING, PREAMBLE
from needlework.tasks.draft import Arrangement, Asked, Draft, Parts

ABOVE = "Above is a list of dictionaries such that each key and value is an integer. Report the value of key "
TEMPLATE = (
    " and the dictionary it is in. Answer in the following template:\nThe value of key ",
    " is <fill-in-value> and it is in Dictionary [<fill-in-dictionary-name>].",
)


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

    def draft(
        self,
        rng: np.random.Generator,
        capacity: int,
        num_needles: int = 1,
        *,
        depths: Sequence[float] | None = None,
    ) -> Draft:
        """Draw `capacity` dictionaries with `num_needles` gold pairs, each in its own while there are enough.

        Raises:
            UserError: If so many needles do not fit so few dictionaries, or the numbers run out.
        """
        self._check(capacity, num_needles)
        gold_keys = dictionaries.distinct(rng, self.key_digits, num_needles)
        gold_values = dictionaries.distinct(rng, self.value_digits, num_needles, avoid=gold_keys)
        holders = min(num_needles, capacity)
        slots = np.argsort(rng.random((holders, self.keys_per_gold)), axis=1)
        place_draws, front_draws = rng.random(holders), rng.random(2).tolist()
        name_seed, repair_seed = rng.integers(2**63, size=2).tolist()

        # A row of draws for each dictionary, so that more of them do not change the first.
        width = max(self.keys_per_gold, *self.keys_per_dict)
        draws = rng.random((capacity, 1 + 2 * width))
        sizes = np.asarray(self.keys_per_dict)[(draws[:, 0] * len(self.keys_per_dict)).astype(np.int64)]
        sizes[:holders] = self.keys_per_gold
        digits, gold = (self.key_digits, self.value_digits), (gold_keys, gold_values)
        keys, values = dictionaries.pairs(draws[:, 1:].reshape(capacity, 2, width), digits, gold, repair_seed)
        for number, pair in enumerate(zip(gold_keys, gold_values, strict=True)):
            row = number % holders
            slot = slots[row, number // holders]
            keys[row, slot], values[row, slot] = pair

        def arrange(num_items: int) -> Arrangement:
            if depths is not None:
                places = dictionaries.at_depths(depths, num_items)
            else:
                places = self._force(dictionaries.scatter(place_draws, num_items), front_draws, num_items)
            names = np.arange(1, num_items + 1)
            if self.shuffle_names:
                names = np.random.default_rng([name_seed, num_items]).permutation(names)
            needles = []
            for number, (key, value) in enumerate(zip(gold_keys, gold_values, strict=True)):
                place = places[number % holders]
                answer = ("The value of key ", key, " is ", value, f" and it is in {OPENING}", int(names[place]), "].")
                needles.append(Asked(self._question(key), answer, (str(value),), place))
            return Arrangement(dictionaries.order(places, num_items), tuple(needles), names)

        contents = dictionaries.pieces(keys, values, sizes)
        return Draft("simple_dict", PREAMBLE, contents, arrange, OPENING, CLOSING)

    def min_items(self, num_needles: int) -> int:
        """Return the fewest dictionaries that hold so many needles."""
        return max(1, -(-num_needles // self.keys_per_gold))

    def _question(self, key: int) -> Parts:
        if not self.template:
            return ABOVE, key, " and the dictionary it is in."
        return ABOVE, key, TEMPLATE[0], key, TEMPLATE[1]

    def _force(self, places: list[int], draws: list[float], num_items: int) -> list[int]:
        """Force the first needle of a fraction of the haystacks to the front, as the official code does."""
        if draws[0] >= self.first_fraction + self.front_fraction:
            return places
        front = int(draws[1] * min(self.front_size, num_items))
        return dictionaries.to_front(places, 0 if draws[0] < self.first_fraction else front)

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
            needed = 2 * (2 * num_needles + max(self.keys_per_gold, *self.keys_per_dict))
            if available < needed:
                raise UserError(
                    f"{name}={list(digits)} gives {available} numbers, but {num_needles} needles need {needed}. "
                    f"Allow more digits or ask for fewer needles."
                )
