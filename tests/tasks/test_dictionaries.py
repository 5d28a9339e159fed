from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from needlework.errors import UserError
from needlework.tasks import dictionaries
from needlework.tasks.draft import NOTHING

DIGITS = (1, 2), (3,)


def pairs(seed: int, count: int, width: int = 4) -> tuple[np.ndarray, np.ndarray]:
    draws = np.random.default_rng(seed).random((1, count, 2, width))
    (keys,), (values,) = dictionaries.pairs(draws, DIGITS, ([[5, 17]], [[333]]), [seed])
    return keys, values


def test_integers_take_each_number_of_digits_alike_and_cover_it() -> None:
    numbers = dictionaries.integers(np.linspace(0, 1, 18_000, endpoint=False), (1, 2))
    assert set(numbers.tolist()) == set(range(1, 100))
    assert (numbers < 10).mean() == pytest.approx(0.5)


def test_distinct_integers_avoid_what_they_are_told_to() -> None:
    found = dictionaries.distinct(np.random.default_rng(0), (1,), 6, avoid=(3, 4, 5))
    assert sorted(found) == [1, 2, 6, 7, 8, 9]


def test_pairs_hold_no_gold_key_or_value_and_no_key_twice() -> None:
    keys, values = pairs(0, 500)
    assert not np.isin(keys, [5, 17]).any()
    assert not (values == 333).any()
    assert all(len(set(row)) == len(row) for row in keys.tolist())


def test_more_dictionaries_do_not_change_the_first_ones() -> None:
    for few, many in zip(pairs(1, 40), pairs(1, 90), strict=True):
        assert (few == many[:40]).all()


def test_pieces_write_as_many_pairs_as_the_size_says() -> None:
    keys, values = np.array([[1, 2], [3, 4]]), np.array([[10, 20], [30, 40]])
    pieces = dictionaries.pieces(keys, values, np.array([2, 1]))
    start, colon, comma = dictionaries.START, dictionaries.COLON, dictionaries.COMMA
    assert pieces.tolist() == [
        [start, 1, colon, 10, comma, 2, colon, 20],
        [start, 3, colon, 30, NOTHING, NOTHING, NOTHING, NOTHING],
    ]


def test_the_longest_numbers_are_right_and_longer_ones_refused() -> None:
    largest = np.nextafter(1.0, 0.0)
    assert dictionaries.integers(np.array([0.0, largest]), (18,)).tolist()[0] == 10**17
    assert len(str(dictionaries.integers(np.array([largest]), (18,))[0])) == 18
    dictionaries.check_numbers("digits", (18,), 1, 9)
    with pytest.raises(UserError, match=r"digits=\[3, 19\], but a number has at most 18 digits"):
        dictionaries.check_numbers("digits", (3, 19), 1, 9)


def test_dictionaries_with_hardly_enough_keys_are_refused() -> None:
    dictionaries.check_clashes((3, 4), 4)
    dictionaries.check_clashes((3,), 90)
    with pytest.raises(UserError, match=r"dictionaries of 200 keys with key_digits=\[3\]"):
        dictionaries.check_clashes((3,), 200)


def test_scattered_places_differ_and_are_uniform() -> None:
    rng, seen = np.random.default_rng(0), Counter[tuple[int, ...]]()
    for _ in range(6000):
        seen[tuple(dictionaries.scatter(rng.random(2).tolist(), 3))] += 1
    # All six ordered pairs, a thousand times each; 130 is more than four standard deviations.
    assert len(seen) == 6
    assert all(abs(count - 1000) < 130 for count in seen.values())


def test_at_depths_a_taken_place_is_left_for_the_nearest_free_one() -> None:
    assert dictionaries.at_depths((0, 0.5, 1), 5) == [0, 2, 4]
    assert dictionaries.at_depths((0.5, 0.5, 0.5), 5) == [2, 1, 3]


def test_more_needles_than_items_are_refused() -> None:
    with pytest.raises(UserError, match="3 needles do not fit 2 items"):
        dictionaries.scatter((0, 0, 0), 2)
    with pytest.raises(UserError, match="3 depths do not fit 2 items"):
        dictionaries.at_depths((0, 0, 0), 2)


def test_the_first_needle_moves_to_the_front_and_changes_places_with_who_is_there() -> None:
    assert dictionaries.to_front([4, 2, 0], 0) == [0, 2, 4]
    assert dictionaries.to_front([4, 2, 3], 0) == [0, 2, 3]
    assert dictionaries.to_front([0, 2, 3], 0) == [0, 2, 3]


def test_needles_are_seated_in_turn_and_each_on_its_own() -> None:
    rows, slots = dictionaries.seats(np.random.default_rng(0), num_needles=7, holders=3, keys_per_gold=3)
    assert rows == [0, 1, 2, 0, 1, 2, 0]
    assert len(set(zip(rows, slots, strict=True))) == 7


def test_placing_is_the_same_at_each_call_and_forces_its_shares_to_the_front() -> None:
    options = {"shuffle_names": False, "first_fraction": 0.3, "front_fraction": 0.4, "front_size": 5}
    places = []
    for seed in range(2000):
        place = dictionaries.placing(np.random.default_rng(seed), 2, None, **options)  # type: ignore[arg-type]
        first, _ = place(1000)
        assert place(1000)[0] == first
        places.append(first[0])
    assert np.mean(np.array(places) == 0) == pytest.approx(0.3 + 0.4 / 5, abs=0.04)
    assert np.mean(np.array(places) < 5) == pytest.approx(0.7, abs=0.04)
