from __future__ import annotations

import re
from collections import Counter
from itertools import chain, pairwise

import numpy as np
import pytest
from scipy import stats

from needlework.errors import UserError
from needlework.haystack import Haystack, Needle
from needlework.tasks.multi_subkey import MultiSubkey
from needlework.tasks.protocol import make

Key = tuple[int, ...]


def made(seed: int = 0, num_items: int = 49, num_needles: int = 1, **params: object) -> Haystack:
    return make(MultiSubkey(**params), np.random.default_rng(seed), num_items, num_needles)  # type: ignore[arg-type]


def numbers(text: str) -> Key:
    return tuple(map(int, re.findall(r"\d+", text)))


def dictionaries(haystack: Haystack) -> list[list[tuple[Key, int]]]:
    """Read the items back; each must be what Python prints of a dictionary."""
    found = []
    for item in haystack.items:
        body = re.fullmatch(r"Dictionary \[\d+\] (\{.*\})", item).group(1)  # type: ignore[union-attr]
        pairs = [(numbers(key), int(value)) for key, value in re.findall(r"(\([\d, ]+\)): (\d+)", body)]
        assert str(dict(pairs)) == body
        found.append(pairs)
    return found


def gold(needle: Needle) -> tuple[Key, Key, int, int]:
    """Return what is asked, the gold key, its value and the name of its dictionary."""
    form = (
        r"The key that contains the integers (.*) is (\(.*\))\. Its value is (\d+) and it is in Dictionary \[(\d+)\]\."
    )
    asked, key, value, name = re.fullmatch(form, needle.answer).groups()  # type: ignore[union-attr]
    return numbers(asked), numbers(key), int(value), int(name)


def test_the_prompt_reads_as_in_the_paper() -> None:
    haystack = made(4, 2)
    (query, key, value, name) = gold(haystack.needles[0])
    first, second = haystack.items
    listed = ", ".join(map(str, query))
    assert haystack.message(haystack.needles[0]) == (
        f"Do a task using the list of dictionaries below.\n\n{first}\n{second}\n\n"
        "Above is a list of dictionaries such that each key is a tuple of integers and each value is an integer. "
        f"Report the key that contains the integers {listed} (not necessarily in order), its value, and the "
        "dictionary it is in. Answer in the following template:\n"
        f"The key that contains the integers {listed} is <fill-in-key>. Its value is <fill-in-value> and it is in "
        "Dictionary [<fill-in-dictionary-name>]."
    )
    assert f"{key}: {value}" in haystack.items[name - 1]
    assert haystack.needles[0].accepted == (str(value),)


def test_without_template_the_question_ends_and_the_answer_is_the_same() -> None:
    without, given = made(template=False).needles[0], made().needles[0]
    assert without.question == given.question.split(" Answer in")[0]
    assert without.answer == given.answer


@pytest.mark.parametrize(
    ("num_needles", "params", "haystacks"),
    [
        (1, {}, 1000),
        (8, {}, 500),
        (60, {}, 60),
        # Where a second match would be frequent: few numbers, and every distractor takes all common subkeys.
        (3, {"has_common": 1.0, "per_common": 1.0, "subkey_digits": (2,), "value_digits": (3,)}, 1000),
        (2, {"has_common": 1.0, "per_common": 1.0, "ordered_common": True, "subkey_digits": (2,)}, 500),
    ],
)
def test_exactly_one_key_of_the_haystack_contains_all_that_is_asked(
    num_needles: int, params: dict[str, object], haystacks: int
) -> None:
    for seed in range(haystacks):
        haystack = made(seed, 40, num_needles, **params)
        found = dictionaries(haystack)
        keys = [(place, key, value, set(key)) for place, pairs in enumerate(found) for key, value in pairs]
        for needle in haystack.needles:
            query, key, value, name = gold(needle)
            assert [(place, *pair) for place, *pair, parts in keys if parts.issuperset(query)] == [
                (needle.position, key, value)
            ]
            assert name == needle.position + 1
            assert [pair[2] for pair in keys].count(value) == 1


def test_distractors_share_subkeys_as_often_as_the_official_generator_lets_them() -> None:
    shared, sizes = Counter[int](), Counter[int]()
    for seed in range(400):
        haystack = made(seed, has_common=0.6, per_common=0.3)
        query, gold_key, *_ = gold(haystack.needles[0])
        for key, _ in chain.from_iterable(dictionaries(haystack)):
            if key != gold_key:
                shared[len(set(key) & set(query))] += 1
                sizes[len(key)] += 1
    # Two common subkeys, each with 0.6 * 0.3; a random one meets the query in 3 of 900 cases.
    chance = 1 - (1 - 3 / 900) ** 2.5
    expected = np.array([0.4 + 0.6 * 0.7**2, 0.6 * 2 * 0.3 * 0.7, 0.6 * 0.3**2])
    expected = expected * (1 - chance) + np.array([0, *expected[:2]]) * chance
    total = shared.total()
    assert [shared[count] / total for count in range(3)] == pytest.approx(expected, abs=0.01)
    assert shared[3] == 0
    assert stats.binomtest(sizes[3], total).pvalue > 0.01


def test_common_subkeys_stand_at_random_places() -> None:
    places = Counter[int]()
    for seed in range(300):
        haystack = made(seed, has_common=1.0, per_common=1.0, subkeys_per_key=(4,))
        query, gold_key, *_ = gold(haystack.needles[0])
        for key, _ in chain.from_iterable(dictionaries(haystack)):
            if key != gold_key:
                places.update(place for place, subkey in enumerate(key) if subkey in query)
    assert stats.chisquare([places[place] for place in range(4)]).pvalue > 0.01


def test_ordered_common_subkeys_stay_side_by_side() -> None:
    for seed in range(50):
        haystack = made(seed, has_common=1.0, per_common=1.0, ordered_common=True)
        query, gold_key, *_ = gold(haystack.needles[0])
        keys = [key for key, _ in chain.from_iterable(dictionaries(haystack))]
        runs = {tuple(subkey for subkey in key if subkey in query) for key in keys if key != gold_key}
        # In one order only; a run of three repeats one of the two by chance.
        (common,) = [run for run in runs if len(run) == 2]
        assert all(common in pairwise(key) for key in keys)


def test_each_needle_has_its_own_common_subkeys() -> None:
    haystack = made(0, 200, 4)
    queries = [set(gold(needle)[0]) for needle in haystack.needles]
    assert len(set().union(*queries)) == 12
    sharing = Counter[tuple[int, ...]]()
    for key, _ in chain.from_iterable(dictionaries(haystack)):
        sharing[tuple(number for number, query in enumerate(queries) if len(query & set(key)) == 2)] += 1
    assert all(sharing[(number,)] > 3 for number in range(4))


def test_the_query_lists_the_subkeys_in_shuffled_order() -> None:
    orders = Counter[Key]()
    for seed in range(1200):
        query, key, *_ = gold(made(seed, 2).needles[0])
        orders[tuple(key.index(subkey) for subkey in query)] += 1
    assert len(orders) == 6
    assert stats.chisquare(list(orders.values())).pvalue > 0.01
    query, key, *_ = gold(made(shuffle_query=False).needles[0])
    assert query == key


def test_digits_and_sizes_are_as_asked() -> None:
    haystack = made(
        2, 60, subkey_digits=(1, 5), value_digits=(2,), subkeys_per_gold=5, common_subkeys=3, subkeys_per_key=(4, 6)
    )
    query, gold_key, value, _ = gold(haystack.needles[0])
    found = dictionaries(haystack)
    place = haystack.needles[0].position
    assert len(query) == len(gold_key) == 5
    assert (len(found[place]), {len(pairs) for pairs in found}) == (2, {2, 3})
    pairs = [pair for pair in chain.from_iterable(found) if pair != (gold_key, value)]
    assert {len(key) for key, _ in pairs} == {4, 6}
    assert {len(str(subkey)) for key, _ in pairs for subkey in key} == {1, 5}
    assert {len(str(value)) for _, value in pairs} == {2}


def test_gold_positions_are_uniform_but_for_the_forced_front() -> None:
    positions = np.array([made(seed, 20).needles[0].position for seed in range(3000)])
    expected = np.full(20, 0.92 / 20)
    expected[:7] += 0.03 / 7
    expected[0] += 0.05
    assert stats.chisquare(np.bincount(positions, minlength=20), 3000 * expected).pvalue > 0.01


def test_one_more_item_adds_one_dictionary_and_changes_no_other() -> None:
    for seed in range(50):
        few, many = made(seed, 12, 4, subkey_digits=(2,)), made(seed, 13, 4, subkey_digits=(2,))
        bodies = [Counter(item.split("] ")[1] for item in haystack.items) for haystack in (few, many)]
        assert sum((bodies[1] - bodies[0]).values()) == 1
        assert not bodies[0] - bodies[1]


def test_names_can_be_shuffled() -> None:
    haystack = made(3, 30, 2, shuffle_names=True)
    names = [int(re.findall(r"\[(\d+)\]", item)[0]) for item in haystack.items]
    assert sorted(names) == list(range(1, 31))
    assert names != sorted(names)
    assert [gold(needle)[3] for needle in haystack.needles] == [names[needle.position] for needle in haystack.needles]


def test_the_fewest_items_hold_the_needles() -> None:
    assert [MultiSubkey().min_items(count) for count in (1, 2, 3)] == [1, 1, 2]
    assert len(made(0, 2, 3).needles) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_items": 2, "num_needles": 5}, "5 needles do not fit 2 dictionaries of 2 keys"),
        ({"common_subkeys": 3}, "common_subkeys=3, but keys have as few as 3 subkeys"),
        ({"ordered_common": True}, r"per_common is 0\.5"),
        ({"subkey_digits": (1,), "num_needles": 2}, r"subkey_digits=\[1\] gives 9 numbers, but 2 needles need 18"),
        ({"value_digits": (1,), "num_needles": 2}, r"value_digits=\[1\] gives 9 numbers, but 2 needles need 12"),
    ],
)
def test_what_cannot_be_made_is_refused_with_numbers(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        made(**arguments)  # type: ignore[arg-type]
