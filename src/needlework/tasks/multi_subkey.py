"""Multi-subkey dictionary key-value retrieval (arXiv 2406.19292, section 2), with any number of needles.

Keys are tuples of integers. The question names all integers of the gold key, in another order; other keys
share some of them, the common subkeys, but never all. So no single number gives the gold key away.

How keys are drawn follows the official code (github.com/edixiong/artificial-needles, commit b269b50,
data-generation/scripts/dict_builder.py, `generate_key_lst`). Its prompts and configurations for this task are
not public: wording and default sizes follow the example in the paper from memory, and the two probabilities
are ours. The official code asks one question, and a distractor with all common subkeys may match the rest of
the query by chance. Here each needle has common subkeys of its own, a distractor takes those of one needle,
and a dictionary with a second match is redrawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import PositiveInt

from needlework.errors import UserError
from needlework.sections import Fraction
from needlework.tasks import dictionaries
from needlework.tasks.dictionaries import CLOSING, OPENING, PREAMBLE, Booleans, Floats
from needlework.tasks.draft import NOTHING, Arrangement, Asked, Draft, Integers, Parts, Pieces
from needlework.tasks.placing import check_depths

ABOVE = (
    "Above is a list of dictionaries such that each key is a tuple of integers and each value is an integer. "
    "Report the key that contains the integers "
)
REPORT = " (not necessarily in order), its value, and the dictionary it is in."
CONTAINS = "The key that contains the integers "
TEMPLATE = " is <fill-in-key>. Its value is <fill-in-value> and it is in Dictionary [<fill-in-dictionary-name>]."

FRAGMENTS = ("] {(", ", (", ", ", "): ")
START, NEXT, COMMA, COLON = -2, -3, -4, -5


@dataclass(frozen=True, slots=True)
class _Gold:
    """The keys that are asked for, one row per needle."""

    keys: Integers
    """Shape [needles, subkeys]."""
    queries: Integers
    """Shape [needles, subkeys]: the same in the order of the question."""
    values: Integers
    """Shape [needles]."""
    common: Integers
    """Shape [needles, common subkeys]: what other keys may share."""


@dataclass(frozen=True, slots=True)
class MultiSubkey:
    """The parameters of the task, with the names they have in the official configurations."""

    template: bool = True
    """Show the form of the answer in the question. The training answer is the same either way."""
    keys_per_gold: PositiveInt = 2
    """Keys in a dictionary that holds a needle (gold_dict_size)."""
    keys_per_dict: tuple[PositiveInt, ...] = (2, 3)
    """Keys in any other dictionary, drawn uniformly from these (dict_size_range)."""
    subkeys_per_gold: PositiveInt = 3
    """Subkeys in a gold key, all listed in the question (gold_key_size)."""
    subkeys_per_key: tuple[PositiveInt, ...] = (3, 4)
    """Subkeys in any other key, drawn uniformly from these (key_size_range)."""
    common_subkeys: PositiveInt = 2
    """Subkeys of a gold key that other keys may share (common_subkey_size)."""
    has_common: Fraction = 0.5
    """Share of the other keys that may take common subkeys (prob_ng_has_common)."""
    per_common: Fraction = 0.5
    """Probability that such a key takes each common subkey (prob_ng_per_common)."""
    ordered_common: bool = False
    """Keep the common subkeys adjacent and in order, all or none; needs `per_common` 1 (key_common_ordered)."""
    shuffle_query: bool = True
    """List the subkeys in another order than in the key (key_prompt_shuffled)."""
    subkey_digits: tuple[PositiveInt, ...] = (3,)
    """Digits in a subkey: their number is drawn uniformly, then the subkey within it (subkey_size_range)."""
    value_digits: tuple[PositiveInt, ...] = (4,)
    """Digits in a value, drawn the same way (val_size_range)."""
    shuffle_names: bool = False
    """Number the dictionaries 1..n in random order instead of ascending (name_random)."""
    first_fraction: Fraction = 0.05
    """Share of haystacks whose first needle is forced into the first dictionary (frac_0)."""
    front_fraction: Fraction = 0.03
    """Share of haystacks whose first needle is forced into the first `front_size` dictionaries (frac_top5)."""
    front_size: PositiveInt = 7
    """Number of dictionaries in the front: the official code takes 5 % of the samples, of which the paper has 150."""

    def draft(
        self,
        rng: np.random.Generator,
        capacity: int,
        num_needles: int = 1,
        *,
        depths: Sequence[float] | None = None,
    ) -> Draft:
        """Draw `capacity` dictionaries with `num_needles` gold keys, spread over as many dictionaries as possible.

        Raises:
            UserError: If there are too few dictionaries for the needles, or the numbers run out.
        """
        self._check(capacity, num_needles, depths)
        gold = self._gold(rng, num_needles)
        holders = min(num_needles, capacity)
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
        keys, values, sizes = self._others(rng, capacity, gold)
        sizes[:holders] = self.keys_per_gold
        keys[rows, slots] = NOTHING
        keys[rows, slots, : self.subkeys_per_gold] = gold.keys
        values[rows, slots] = gold.values

        def arrange(num_items: int) -> Arrangement:
            places, names = place(num_items)
            needles = []
            golds = rows, gold.queries.tolist(), gold.keys.tolist(), gold.values.tolist()
            for row, query, key, value in zip(*golds, strict=True):
                needles.append(self._asked(query, key, value, places[row], int(names[places[row]])))
            return Arrangement(num_items, places, tuple(needles), names)

        return Draft("multi_subkey", PREAMBLE, _pieces(keys, values, sizes), arrange, OPENING, CLOSING)

    def min_items(self, num_needles: int) -> int:
        """Return the fewest dictionaries that can hold the needles."""
        return max(1, -(-num_needles // self.keys_per_gold))

    @property
    def _width(self) -> int:
        return max(self.keys_per_gold, *self.keys_per_dict)

    @property
    def _longest(self) -> int:
        return max(self.subkeys_per_gold, *self.subkeys_per_key)

    def _gold(self, rng: np.random.Generator, num_needles: int) -> _Gold:
        """Draw the gold keys. All their subkeys differ, so none matches what is asked about another."""
        shape = num_needles, self.subkeys_per_gold
        numbers = dictionaries.distinct(rng, self.subkey_digits, num_needles * self.subkeys_per_gold)
        subkeys = np.asarray(numbers).reshape(shape)
        keys = self._ordered(subkeys, rng.random(shape), np.arange(shape[1]) < self.common_subkeys)
        queries = rng.permuted(keys, axis=1) if self.shuffle_query else keys
        values = np.asarray(dictionaries.distinct(rng, self.value_digits, num_needles))
        return _Gold(keys, queries, values, subkeys[:, : self.common_subkeys])

    def _others(self, rng: np.random.Generator, capacity: int, gold: _Gold) -> tuple[Integers, Integers, Integers]:
        """Draw dictionaries without needles.

        Returns:
            Keys [capacity, most keys, most subkeys], padded with `NOTHING`; values [capacity, most keys]; and the
            number of keys in each dictionary, [capacity].
        """
        repair = dictionaries.seed(rng)
        # One row of draws per dictionary, so that drawing more dictionaries does not change the first ones.
        per_key = 4 + self.common_subkeys + 2 * self._longest
        draws = rng.random((capacity, 1 + self._width * per_key))
        keys, values = dictionaries.redraw(
            draws[None, :, 1:].reshape(1, capacity, self._width, per_key),
            lambda draws: (self._keys(draws[..., 1:], gold), dictionaries.integers(draws[..., 0], self.value_digits)),
            lambda keys, values, _: _conflicts(keys, values, gold),
            [repair],
        )
        return keys[0], values[0], dictionaries.choose(draws[:, 0], self.keys_per_dict)

    def _keys(self, draws: Floats, gold: _Gold) -> Integers:
        """Turn draws from [0, 1), [..., 3 + common + 2 * longest], into keys, [..., longest]."""
        shared, longest = self.common_subkeys, self._longest
        size, chance, needle = draws[..., 0], draws[..., 1:2], draws[..., 2]
        per_common, numbers, scores = np.split(draws[..., 3:], (shared, shared + longest), axis=-1)
        keys = dictionaries.integers(numbers, self.subkey_digits)
        # A key of n subkeys takes the first n columns, which begin with the common ones; then they are shuffled.
        taken = np.zeros(keys.shape, dtype=np.bool_)
        taken[..., :shared] = (chance < self.has_common) & (per_common < self.per_common)
        common = gold.common[dictionaries.choose(needle, range(len(gold.common)))]
        keys[..., :shared] = np.where(taken[..., :shared], common, keys[..., :shared])
        absent = np.arange(longest) >= dictionaries.choose(size, self.subkeys_per_key)[..., None]
        return self._ordered(np.where(absent, NOTHING, keys), np.where(absent, 1, scores), taken)

    def _ordered(self, keys: Integers, scores: Floats, common: Booleans) -> Integers:
        """Sort the subkeys of each key by their scores; all [..., subkeys], though `common` may be one row for all."""
        if self.ordered_common:
            # Common subkeys share a score, so the stable sort keeps them together and in order.
            scores = np.where(common, scores[..., :1], scores)
        return np.take_along_axis(keys, np.argsort(scores, axis=-1, kind="stable"), axis=-1)

    def _asked(self, query: list[int], key: list[int], value: int, place: int, name: int) -> Asked:
        named = CONTAINS, *_listed(query)
        question: Parts = ABOVE, *_listed(query), REPORT
        if self.template:
            question = *question[:-1], f"{REPORT} Answer in the following template:\n{CONTAINS}", *named[1:], TEMPLATE
        found: Parts = " is (", *_listed(key), "). Its value is ", value, f" and it is in {OPENING}", name, "]."
        return Asked(question, (*named, *found), (str(value),), place)

    def _check(self, num_items: int, num_needles: int, depths: Sequence[float] | None) -> None:
        dictionaries.check_seats("multi_subkey", num_items, num_needles, self.keys_per_gold, self.keys_per_dict)
        check_depths(depths, min(num_items, num_needles), "dictionaries with needles")
        fewest = min(self.subkeys_per_gold, *self.subkeys_per_key)
        if self.common_subkeys >= fewest:
            raise UserError(
                f"common_subkeys={self.common_subkeys}, but keys have as few as {fewest} subkeys, at least one of "
                f"which must be their own. Lower common_subkeys, or raise subkeys_per_gold and subkeys_per_key."
            )
        if self.ordered_common and self.per_common != 1:
            raise UserError(
                f"ordered_common takes all common subkeys or none, but per_common is {self.per_common}. Set it to 1."
            )
        needed = 2 * (num_needles * self.subkeys_per_gold + self._width)
        dictionaries.check_numbers("subkey_digits", self.subkey_digits, num_needles, needed)
        dictionaries.check_numbers("value_digits", self.value_digits, num_needles, 2 * num_needles * self._width)


def _conflicts(keys: Integers, values: Integers, gold: _Gold) -> Booleans:
    """Return which dictionaries contain a key with all subkeys of a needle, a gold value, or a key twice.

    Args:
        keys: Shape [dictionaries, keys, subkeys].
        values: Shape [dictionaries, keys].
        gold: What is asked.
    """
    matches = (keys[..., None, None] == gold.keys).any(axis=2).all(axis=-1).any(axis=(1, 2))
    valued = (values[..., None] == gold.values).any(axis=(1, 2))
    # Each key equals itself.
    twice = (keys[:, None] == keys[:, :, None]).all(axis=-1).sum(axis=(1, 2)) > keys.shape[1]
    conflicts: Booleans = matches | valued | twice
    return conflicts


def _pieces(keys: Integers, values: Integers, sizes: Integers) -> Pieces:
    """Write the first `sizes[r]` keys of each row r as `] {(subkey, subkey): value, (subkey, subkey): value`."""
    count, width, longest = keys.shape
    pieces = np.full((count, width, 2 * longest + 2), COMMA, dtype=np.int64)
    pieces[:, :, 0] = NEXT
    pieces[:, 0, 0] = START
    pieces[:, :, 1 : 2 * longest : 2] = keys
    # A comma separates two subkeys, and nothing goes where the second is missing.
    pieces[:, :, 2 : 2 * longest : 2][keys[:, :, 1:] == NOTHING] = NOTHING
    pieces[:, :, -2], pieces[:, :, -1] = COLON, values
    pieces[np.arange(width) >= sizes[:, None]] = NOTHING
    return Pieces(pieces.reshape(count, -1), FRAGMENTS)


def _listed(numbers: list[int]) -> Parts:
    """Return numbers separated by commas."""
    parts: list[str | int] = []
    for number in numbers:
        parts += ", ", number
    return tuple(parts[1:])
