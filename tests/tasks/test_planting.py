from __future__ import annotations

import numpy as np
import pytest

from needlework.errors import UserError
from needlework.tasks import make_task, planting
from needlework.tasks.draft import Asked, Draft, Pieces
from needlework.tasks.protocol import make
from tests.tasks.reading import dictionaries, is_near

HARDER = ("near_duplicates", "same_key", "collect", "chain", "absent")
GROUPS = [[(100, 200)], [], [(300, 400), (500, 600), (700, 800)]]


def planted(
    seed: int, capacity: int = 12, near: tuple[int, ...] = (), depths: tuple[float, ...] | None = None
) -> Draft:
    def ask(number: int, places: list[int]) -> Asked:
        return Asked((f"{number}",), (",".join(map(str, places)),), (), places[0] if places else -1)

    rng = np.random.default_rng(seed)
    return planting.plant("t", rng, capacity, (3, 4), GROUPS, ask, depths=depths, near=near)


def places(draft: Draft, num_items: int) -> list[list[int]]:
    answers = [needle.answer for needle in draft.haystack(num_items, "0").needles]
    return [[int(place) for place in answer.split(",") if place] for answer in answers]


def test_near_duplicates_differ_in_a_digit_or_have_the_same_digits_and_never_begin_with_zero() -> None:
    changed, permuted = planting.near_duplicates(105)
    assert len(changed) == 8 + 9 + 9
    assert permuted == [150, 501, 510]
    assert all(is_near(number, 105) for number in changed + permuted)
    assert planting.near_duplicates(7) == ([1, 2, 3, 4, 5, 6, 8, 9], [])


def test_each_pair_stands_where_the_needle_is_told_and_its_numbers_nowhere_else() -> None:
    for seed in range(200):
        draft = planted(seed, near=(900,))
        found = list(dictionaries(draft.haystack(12, "0")).values())
        for group, group_places in zip(GROUPS, places(draft, 12), strict=True):
            for (key, value), place in zip(group, group_places, strict=True):
                assert found[place][key] == value
        reserved = {number for group in GROUPS for pair in group for number in pair} | {900}
        standing = [number for pairs in found for pair in pairs.items() for number in pair if number in reserved]
        assert sorted(standing) == sorted(reserved - {900})


def test_each_dictionary_holds_a_near_duplicate_of_the_keys_in_turn() -> None:
    for seed in range(200):
        found = list(dictionaries(planted(seed, near=(456, 8123)).haystack(12, "0")).values())
        counts = [sum(any(is_near(other, key) for other in pairs) for pairs in found) for key in (456, 8123)]
        assert min(counts) >= 6


def test_both_kinds_of_near_duplicates_are_equally_likely() -> None:
    keys = [key for seed in range(100) for pairs in dictionaries(planted(seed, near=(4567,)).haystack(12, "0")).values()
            for key in pairs if is_near(key, 4567)]  # fmt: skip
    permuted = [sorted(str(key)) == sorted("4567") for key in keys]
    assert np.mean(permuted) == pytest.approx(0.5, abs=0.05)


def test_a_pair_is_in_any_slot_and_its_dictionary_as_large_as_others() -> None:
    seen = set()
    for seed in range(200):
        draft = planted(seed)
        place = places(draft, 12)[0][0]
        gold = list(dictionaries(draft.haystack(12, "0")).values())[place]
        seen.add((len(gold), list(gold).index(100)))
    assert seen == {(size, slot) for size in (3, 4) for slot in range(size)}


def test_depths_place_the_first_pairs_and_the_others_lie_anywhere_else() -> None:
    others = set()
    for seed in range(100):
        (first,), _, (third, *rest) = places(planted(seed, depths=(0, 1)), 12)
        assert (first, third) == (0, 11)
        others.update(rest)
    assert others == set(range(1, 11))


@pytest.mark.parametrize("near", [(), (456,)])
def test_more_dictionaries_do_not_change_the_first_ones(near: tuple[int, ...]) -> None:
    for seed in range(20):
        few, many = (planted(seed, capacity, near).contents for capacity in (9, 40))
        assert isinstance(few, Pieces)
        assert isinstance(many, Pieces)
        assert (few.rows == many.rows[:9]).all()


@pytest.mark.parametrize("name", HARDER)
def test_contents_are_numbers_and_fixed_strings_so_that_they_can_be_composed(name: str) -> None:
    draft = make_task(name).draft(np.random.default_rng(0), 40, 8)
    assert isinstance(draft.contents, Pieces)
    needles = draft.arrange(40).needles
    strings = [part for needle in needles for part in (*needle.question, *needle.answer) if isinstance(part, str)]
    assert not any(character.isdigit() for part in strings for character in part)


@pytest.mark.parametrize("name", HARDER)
def test_the_fewest_items_hold_the_needles_and_fewer_are_refused_with_numbers(name: str) -> None:
    task = make_task(name)
    fewest = task.min_items(8)
    assert len(make(task, np.random.default_rng(0), fewest, 8).needles) == 8
    with pytest.raises(UserError, match=f"8 needles of {name} need {fewest} items, more than the {fewest - 1} of"):
        make(task, np.random.default_rng(0), fewest - 1, 8)
    with pytest.raises(UserError, match=f"{name} needs at least 1 needle, not 0"):
        make(task, np.random.default_rng(0), 5, 0)


@pytest.mark.parametrize("name", HARDER)
def test_too_few_numbers_are_refused_with_numbers(name: str) -> None:
    with pytest.raises(UserError, match=r"digits=\[1\] gives 9 numbers, but 1 needles need \d+"):
        make(make_task(name, {"digits": 1}), np.random.default_rng(0), 9, 1)


@pytest.mark.parametrize("name", HARDER)
def test_each_needle_must_be_given_a_depth(name: str) -> None:
    with pytest.raises(UserError, match="2 needles were given 1 depths"):
        make(make_task(name), np.random.default_rng(0), 20, 2, depths=(0.5,))


@pytest.mark.parametrize("name", HARDER)
def test_digits_are_those_asked_for(name: str) -> None:
    haystack = make(make_task(name, {"digits": [4, 5]}), np.random.default_rng(0), 40, 4)
    lengths = {len(str(n)) for pairs in dictionaries(haystack).values() for pair in pairs.items() for n in pair}
    assert lengths == {4, 5}
