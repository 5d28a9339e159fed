"""Dictionaries of integers with planted pairs, shared by the tasks that are harder than `simple_dict`.

A task draws its numbers, all distinct, and says which pairs each needle has and how to ask for them. Each pair
gets a dictionary of its own, and no planted number occurs anywhere else, as key or value, so only what is
planted can answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, islice, permutations

import numpy as np

from needlework.tasks import dictionaries
from needlework.tasks.dictionaries import CLOSING, FRAGMENTS, OPENING, PREAMBLE, Floats
from needlework.tasks.draft import Arrangement, Asked, Draft, Integers, Pieces
from needlework.tasks.placing import place

PAIRS = (3, 4)
"""Pairs in a dictionary, gold or not, as in the official configurations: their number gives nothing away."""

Pair = tuple[int, int]


def numbers(rng: np.random.Generator, digits: Sequence[int], num_needles: int, count: int) -> list[int]:
    """Draw the numbers of all needles, all distinct.

    Raises:
        UserError: If they would be more than a quarter of all such numbers: drawing others would take long.
    """
    dictionaries.check_numbers("digits", digits, num_needles, 4 * (count + max(PAIRS)))
    return dictionaries.distinct(rng, digits, count)


def plant(
    task: str,
    rng: np.random.Generator,
    capacity: int,
    digits: Sequence[int],
    groups: Sequence[Sequence[Pair]],
    ask: Callable[[int, list[int]], Asked],
    *,
    depths: Sequence[float] | None,
    near: Sequence[int] = (),
) -> Draft:
    """Draw dictionaries that hold the pairs of the needles.

    The gold rows are the first pair of each needle, followed by all other pairs.

    Args:
        task: The name of the task.
        rng: Source of all further randomness.
        capacity: Dictionaries to draw.
        digits: The possible numbers of digits of keys and values.
        groups: The pairs of each needle; empty if the right answer is that there is none.
        ask: Maps the number of a needle and the places of its pairs, both from 0, to its question and answer.
        depths: Fixed relative depths of the first pair of each needle; the other pairs may be anywhere.
        near: Keys to plant near duplicates of: one in each dictionary, taking the keys in turn.
    """
    firsts = [group[0] for group in groups if group]
    gold = [*firsts, *chain.from_iterable(group[1:] for group in groups)]
    reserved = sorted({*near, *chain.from_iterable(gold)})
    place_draws = rng.random(len(gold))
    repair = dictionaries.seed(rng)

    # One row of draws per dictionary, so that drawing more dictionaries does not change the first ones.
    width = max(PAIRS)
    draws = rng.random((capacity, 4 + 2 * width))
    sizes = dictionaries.choose(draws[:, 0], PAIRS)
    slots = (draws[:, 1] * sizes).astype(np.int64)
    drawn, avoid = draws[:, 4:].reshape(1, capacity, 2, width), ([reserved], [reserved])
    (keys,), (values,) = dictionaries.pairs(drawn, (digits, digits), avoid, [repair])
    for row, pair in enumerate(gold):
        keys[row, slots[row]], values[row, slots[row]] = pair
    if near:
        others = (slots + 1 + (draws[:, 2] * (sizes - 1)).astype(np.int64)) % sizes
        _plant_near(keys, others, draws[:, 3], near, set(reserved))

    def arrange(num_items: int) -> Arrangement:
        places = place(place_draws, num_items, depths)
        first, other = iter(places[: len(firsts)]), iter(places[len(firsts) :])
        needles = [
            ask(number, [next(first), *islice(other, len(group) - 1)] if group else [])
            for number, group in enumerate(groups)
        ]
        return Arrangement(num_items, places, tuple(needles), np.arange(1, num_items + 1))

    return Draft(task, PREAMBLE, Pieces(dictionaries.pieces(keys, values, sizes), FRAGMENTS), arrange, OPENING, CLOSING)


def near_duplicates(key: int) -> tuple[list[int], list[int]]:
    """Return the numbers that differ from a key in one digit, and those that have its digits in another order."""
    digits = str(key)
    changed = (digits[:at] + digit + digits[at + 1 :] for at in range(len(digits)) for digit in "0123456789")
    permuted = map("".join, permutations(digits))
    first, second = ({int(text) for text in texts if text[0] != "0"} - {key} for texts in (changed, permuted))
    return sorted(first), sorted(second)


def _plant_near(keys: Integers, slots: Integers, draws: Floats, near: Sequence[int], reserved: set[int]) -> None:
    """Change a key of each row into a near duplicate of one of `near`; both kinds are equally likely."""
    candidates = [[sorted(set(kind) - reserved) for kind in near_duplicates(key)] for key in near]
    for row, (slot, draw) in enumerate(zip(slots.tolist(), draws.tolist(), strict=True)):
        # Shifted by one, so that with several needles the near duplicates are in other dictionaries than their keys.
        kinds = [kind for kind in candidates[(row + 1) % len(near)] if kind]
        chosen, rest = divmod(draw * len(kinds), 1)
        kind = kinds[int(chosen)] if kinds else []
        present = set(keys[row].tolist())
        options = chain(kind[int(rest * len(kind)) :], *kinds)
        # If there are too few digits to leave any, the key stays as drawn, which is always valid.
        keys[row, slot] = next((option for option in options if option not in present), keys[row, slot])
