"""Shared by the tasks over numbered dictionaries of integers: drawing pairs, and placing the gold ones."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import compress

import numpy as np
import numpy.typing as npt

from needlework.errors import UserError
from needlework.tasks.draft import NOTHING, Integers, Parts

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
Rows = slice | Integers

PREAMBLE = "Do a task using the list of dictionaries below."
ABOVE = "Above is a list of dictionaries such that each key and value is an integer."
OPENING, CLOSING = "Dictionary [", "}"
FRAGMENTS = ("] {", ": ", ", ")
START, COLON, COMMA = -2, -3, -4


def integers(draws: Floats, digits: Sequence[int]) -> Integers:
    """Turn draws from [0, 1) into integers: the number of digits is uniform, then the integer with that many digits."""
    scaled = draws * len(digits)
    choice = scaled.astype(np.int64)
    low = np.array([10 ** (count - 1) for count in digits]).take(choice)
    scaled -= choice
    scaled *= 9 * low
    return low + scaled.astype(np.int64)


def choose(draws: Floats, options: Sequence[int]) -> Integers:
    """Turn draws from [0, 1) into options, all equally likely."""
    return np.asarray(options, dtype=np.int64).take((draws * len(options)).astype(np.int64))


def seed(rng: np.random.Generator) -> int:
    """Draw what `rng.integers(2**63)` would, from the same bits in an eighth of the time."""
    return int(rng.bit_generator.random_raw()) >> 1


def distinct(rng: np.random.Generator, digits: Sequence[int], count: int, avoid: Collection[int] = ()) -> list[int]:
    """Draw distinct integers, none of which is in `avoid`."""
    found: dict[int, None] = {}
    while len(found) < count:
        for draw in rng.random(2 * count).tolist():
            # Same as `integers`; for a few numbers an array is not worth it.
            choice, rest = divmod(draw * len(digits), 1)
            low = 10 ** (digits[int(choice)] - 1)
            if (number := low + int(rest * 9 * low)) not in avoid:
                found[number] = None
    return list(found)[:count]


def pairs(
    draws: Floats,
    digits: tuple[Sequence[int], Sequence[int]],
    avoid: tuple[Sequence[Sequence[int]], Sequence[Sequence[int]]],
    repairs: Sequence[int],
) -> tuple[Integers, Integers]:
    """Turn draws from [0, 1) into the keys and values of the dictionaries of many drafts.

    Args:
        draws: Shape [drafts, dictionaries, 2, pairs]; dictionaries are independent of each other.
        digits: The possible numbers of digits of keys and of values.
        avoid: The gold keys and the gold values of each draft, which none of its drawn pairs may contain.
        repairs: For each draft, the seed for redrawing dictionaries that do.

    Returns:
        Keys and values, each of shape [drafts, dictionaries, pairs]; the keys within a dictionary are distinct.
    """
    gold_keys, gold_values = (np.repeat(np.asarray(each), draws.shape[1], axis=0) for each in avoid)
    return redraw(
        draws,
        lambda drawn: _numbers(drawn, digits),
        lambda keys, values, rows: _conflicts(keys, values, gold_keys[rows], gold_values[rows]),
        repairs,
    )


def _numbers(draws: Floats, digits: tuple[Sequence[int], Sequence[int]]) -> tuple[Integers, Integers]:
    if digits[0] == digits[1]:
        both = integers(draws, digits[0])
        return both[:, 0], both[:, 1]
    return integers(draws[:, 0], digits[0]), integers(draws[:, 1], digits[1])


def redraw(
    draws: Floats,
    make: Callable[[Floats], tuple[Integers, Integers]],
    conflicts: Callable[[Integers, Integers, Rows], Booleans],
    repairs: Sequence[int],
) -> tuple[Integers, Integers]:
    """Make the keys and values of dictionaries, redrawing each dictionary until nothing conflicts.

    Args:
        draws: Draws from [0, 1), [drafts, dictionaries, ...].
        make: Maps draws [rows, ...] to keys and values, one row per dictionary; rows are independent of each other.
        conflicts: Maps keys, values and their row numbers among all drafts to which of them must be redrawn.
        repairs: For each draft, the seed for redrawing.

    Returns:
        Keys and values, each [drafts, dictionaries, ...].
    """
    shape = draws.shape[:2]
    keys, values = make(draws.reshape(-1, *draws.shape[2:]))
    rows = np.flatnonzero(conflicts(keys, values, slice(None)))
    # Each row has a stream of its own, so it makes no difference which others are redrawn.
    streams = [np.random.default_rng([repairs[row // shape[1]], row % shape[1]]) for row in rows.tolist()]
    while streams:
        keys[rows], values[rows] = make(np.stack([stream.random(draws.shape[2:]) for stream in streams]))
        again = conflicts(keys[rows], values[rows], rows)
        rows, streams = rows[again], list(compress(streams, again))
    return keys.reshape(*shape, *keys.shape[1:]), values.reshape(*shape, *values.shape[1:])


def _conflicts(keys: Integers, values: Integers, gold_keys: Integers, gold_values: Integers) -> Booleans:
    """Return which rows contain one of their gold keys or values, or a key twice; all [rows, ...]."""
    # Rows last: numpy is fast along long axes.
    keys, values, gold_keys, gold_values = (
        np.ascontiguousarray(each.T) for each in (keys, values, gold_keys, gold_values)
    )
    found = np.zeros(keys.shape[1], dtype=np.bool_)
    for step in range(1, len(keys)):
        found |= (keys[step:] == keys[:-step]).any(0)
    for part, gold in ((keys, gold_keys), (values, gold_values)):
        found |= (part[:, None] == gold).any((0, 1))
    return found


def pieces(keys: Integers, values: Integers, sizes: Integers) -> Integers:
    """Write the first `sizes[…, r]` pairs of each dictionary r as `] {key: value, key: value`.

    Returns:
        The pieces, with the fragments of this module, [..., dictionaries, pieces].
    """
    *shape, width = keys.shape
    rows = np.full((*shape, 4 * width), NOTHING, dtype=np.int64)
    rows[..., 0] = START
    rows[..., 1::4], rows[..., 2::4], rows[..., 3::4], rows[..., 4::4] = keys, COLON, values, COMMA
    rows[np.arange(4 * width) >= 4 * sizes[..., None]] = NOTHING
    return rows


def found(key: int, value: int, name: int) -> Parts:
    """Say where a pair is, in the words of the official answers."""
    return ("The value of key ", key, " is ", value, f" and it is in {OPENING}", name, "].")


def seats(rng: np.random.Generator, num_needles: int, holders: int, keys_per_gold: int) -> tuple[list[int], list[int]]:
    """Return each needle's row, assigned in turn among the first `holders`, and its place in that dictionary."""
    slots = rng.random((holders, keys_per_gold)).argsort(1).tolist()
    numbers = range(num_needles)
    return [number % holders for number in numbers], [slots[number % holders][number // holders] for number in numbers]


def placing(
    rng: np.random.Generator,
    holders: int,
    depths: Sequence[float] | None,
    *,
    shuffle_names: bool,
    first_fraction: float,
    front_fraction: float,
    front_size: int,
) -> Callable[[int], tuple[list[int], Integers]]:
    """Return a function from a number of dictionaries to the places of the gold ones and the names of all.

    Args:
        rng: Source of all randomness.
        holders: Dictionaries that hold needles.
        depths: Fixed relative depths of these, or None for random places.
        shuffle_names: Name the dictionaries 1..n in random order instead of ascending.
        first_fraction: Share of haystacks whose first gold dictionary is moved to the first place.
        front_fraction: Share of haystacks where it is moved to one of the first `front_size` places.
        front_size: Number of dictionaries that count as the front.
    """
    *place_draws, chance, front = rng.random(holders + 2).tolist()
    name_seed = seed(rng)

    def place(num_items: int) -> tuple[list[int], Integers]:
        names = np.arange(1, num_items + 1)
        if shuffle_names:
            names = np.random.default_rng([name_seed, num_items]).permutation(names)
        if depths is not None:
            return at_depths(depths, num_items), names
        places = scatter(place_draws, num_items)
        if chance < first_fraction:
            places = to_front(places, 0)
        elif chance < first_fraction + front_fraction:
            places = to_front(places, int(front * min(front_size, num_items)))
        return places, names

    return place


def scatter(draws: Sequence[float], num_items: int) -> list[int]:
    """Return a place among the items for each of the draws from [0, 1): all distinct, each uniform.

    Raises:
        UserError: If there are fewer items than draws.
    """
    if len(draws) > num_items:
        raise UserError(f"{len(draws)} needles do not fit {num_items} items. Ask for fewer needles, or more items.")
    # Fisher-Yates, as far as needed, on a list of which only the changed entries are stored.
    moved: dict[int, int] = {}
    places = []
    for index, draw in enumerate(draws):
        chosen = index + int(draw * (num_items - index))
        places.append(moved.get(chosen, chosen))
        moved[chosen] = moved.get(index, index)
    return places


def at_depths(depths: Sequence[float], num_items: int) -> list[int]:
    """Return the places at relative depths, 0 the first and 1 the last; if two coincide, the later one moves aside.

    Raises:
        UserError: If there are fewer items than depths.
    """
    if len(depths) > num_items:
        raise UserError(f"{len(depths)} depths do not fit {num_items} items. Use more items or fewer depths.")
    places: list[int] = []
    for depth in depths:
        wanted = round(depth * (num_items - 1))
        free = (place for place in range(num_items) if place not in places)
        places.append(min(free, key=lambda place: abs(place - wanted)))
    return places


def to_front(places: list[int], wanted: int) -> list[int]:
    """Move the first needle to the wanted place; a needle already there takes the place it leaves."""
    swap = {wanted: places[0], places[0]: wanted}
    return [wanted, *(swap.get(place, place) for place in places[1:])]


def check_seats(task: str, num_items: int, num_needles: int, keys_per_gold: int, keys_per_dict: Sequence[int]) -> None:
    """Check that the needles fit into the dictionaries.

    Raises:
        UserError: If they do not.
    """
    if num_items < 1 or num_needles < 1:
        raise UserError(f"{task} needs at least 1 dictionary and 1 needle, not {num_items} and {num_needles}.")
    if min(keys_per_gold, *keys_per_dict) < 1:
        raise UserError("A dictionary needs at least 1 key: raise keys_per_gold and keys_per_dict.")
    if num_needles > num_items * keys_per_gold:
        raise UserError(
            f"{num_needles} needles do not fit {num_items} dictionaries of {keys_per_gold} keys. "
            f"Ask for at most {num_items * keys_per_gold} needles, or more dictionaries."
        )


MOST_DIGITS = 18
"""Most digits with which any number fits in 64 bits."""


MOST_CLASHES = 5.0
"""Per dictionary, on average: at this rate one in 150 has no clash, and redrawing takes accordingly long."""


def check_clashes(key_digits: Sequence[int], width: int) -> None:
    """Check that dictionaries of `width` keys can be drawn without repeating a key.

    Raises:
        UserError: If it would take too long.
    """
    # Two keys are equal if they have the same number of digits and then agree in all of them.
    same = sum(1 / (9 * 10 ** (count - 1)) for count in key_digits) / len(key_digits) ** 2
    if width * (width - 1) / 2 * same > MOST_CLASHES:
        raise UserError(
            f"dictionaries of {width} keys with key_digits={list(key_digits)} can hardly be drawn without one key "
            f"twice. Allow more digits or ask for fewer keys."
        )


def check_numbers(name: str, digits: Sequence[int], num_needles: int, needed: int) -> None:
    """Check that numbers with these digits can be drawn, and that there are enough distinct ones.

    Raises:
        UserError: If they cannot.
    """
    if max(digits, default=0) > MOST_DIGITS:
        raise UserError(f"{name}={list(digits)}, but a number has at most {MOST_DIGITS} digits. Ask for fewer.")
    available = sum(9 * 10 ** (count - 1) for count in set(digits))
    if available < needed:
        raise UserError(
            f"{name}={list(digits)} gives {available} numbers, but {num_needles} needles need {needed}. "
            f"Allow more digits or ask for fewer needles."
        )
