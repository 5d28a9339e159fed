from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from needlework.errors import UserError
from needlework.haystack import Haystack
from needlework.tasks.protocol import make
from needlework.tasks.simple_dict import SimpleDict

# The whole of a sample of the official generator, but for its numbers and its 57 other dictionaries.
OFFICIAL = """Do a task using the list of dictionaries below.

Dictionary [1] {8735: 462, 665: 8253, 195: 1018}
Dictionary [2] {2031: 681, 922: 2494, 2786: 5769, 918: 8290}
Dictionary [3] {397: 293, 8807: 191, 962: 816}

Above is a list of dictionaries such that each key and value is an integer. Report the value of key 665 and \
the dictionary it is in. Answer in the following template:
The value of key 665 is <fill-in-value> and it is in Dictionary [<fill-in-dictionary-name>]."""


def made(seed: int = 0, num_items: int = 20, num_needles: int = 1, **params: object) -> Haystack:
    return make(SimpleDict(**params), np.random.default_rng(seed), num_items, num_needles)  # type: ignore[arg-type]


def dictionaries(haystack: Haystack) -> list[tuple[int, dict[int, int]]]:
    found = []
    for item in haystack.items:
        name, body = re.fullmatch(r"Dictionary \[(\d+)\] \{(.*)\}", item).groups()  # type: ignore[union-attr]
        pairs = [pair.split(": ") for pair in body.split(", ")]
        found.append((int(name), {int(key): int(value) for key, value in pairs}))
    return found


def anonymous(text: str) -> str:
    return re.sub(r"\d+: \d+(, \d+: \d+)*", "PAIRS", re.sub(r"key \d+", "key K", text))


def test_the_prompt_has_the_form_of_the_official_one() -> None:
    haystack = made(num_items=3)
    assert anonymous(haystack.message(haystack.needles[0])) == anonymous(OFFICIAL)


def test_without_template_the_question_ends_and_the_answer_is_the_same() -> None:
    without, given = made(template=False).needles[0], made().needles[0]
    assert without.question.endswith("and the dictionary it is in.")
    assert without.answer == given.answer
    assert re.fullmatch(r"The value of key \d+ is \d+ and it is in Dictionary \[\d+\]\.", given.answer)


@pytest.mark.parametrize("num_needles", [1, 8, 60])
def test_every_gold_pair_is_where_its_needle_says_and_nowhere_else(num_needles: int) -> None:
    for seed in range(30):
        haystack = made(seed, 20, num_needles)
        found = dictionaries(haystack)
        for needle in haystack.needles:
            key, value, name = map(int, re.findall(r"\d+", needle.answer))
            assert found[needle.position] == (name, found[needle.position][1])
            assert found[needle.position][1][key] == value
            assert needle.accepted == (str(value),)
            assert sum(key in pairs for _, pairs in found) == 1
            assert sum(list(pairs.values()).count(value) for _, pairs in found) == 1


def test_keys_are_unique_within_a_dictionary_and_sizes_are_as_configured() -> None:
    for seed in range(20):
        haystack = made(seed, 40)
        gold = haystack.needles[0].position
        for place, item in enumerate(haystack.items):
            keys = re.findall(r"(\d+):", item)
            assert len(keys) == len(set(keys))
            assert len(keys) == 3 if place == gold else len(keys) in (3, 4)


def test_digits_and_sizes_are_drawn_uniformly() -> None:
    numbers: Counter[int] = Counter()
    sizes: Counter[int] = Counter()
    for seed in range(60):
        for _, pairs in dictionaries(made(seed, 85)):
            sizes[len(pairs)] += 1
            numbers.update(len(str(number)) for pair in pairs.items() for number in pair)
    assert set(numbers) == {3, 4}
    assert numbers[3] / numbers.total() == pytest.approx(0.5, abs=0.01)
    assert sizes[3] / sizes.total() == pytest.approx(0.5, abs=0.03)


def test_gold_positions_are_uniform_but_for_the_forced_front() -> None:
    positions = np.array([made(seed, 85, first_fraction=0.05, front_fraction=0.03).needles[0].position
                          for seed in range(3000)])  # fmt: skip
    # 5 % forced to 0, 3 % among the first 17, the rest uniform over 85.
    assert np.mean(positions == 0) == pytest.approx(0.05 + 0.03 / 17 + 0.92 / 85, abs=0.012)
    assert np.mean(positions < 17) == pytest.approx(0.08 + 0.92 * 17 / 85, abs=0.025)
    assert np.mean(positions[positions >= 17]) == pytest.approx((17 + 84) / 2, abs=1.5)


def test_needles_lie_in_different_dictionaries_while_there_are_enough() -> None:
    for seed in range(50):
        positions = [needle.position for needle in made(seed, 8, 8).needles]
        assert sorted(positions) == list(range(8))


def test_one_more_item_adds_one_dictionary_and_changes_no_other() -> None:
    for seed in range(50):
        small, large = made(seed, 12, 4), made(seed, 13, 4)
        bodies = [Counter(item.split("] ")[1] for item in haystack.items) for haystack in (small, large)]
        assert sum((bodies[1] - bodies[0]).values()) == 1
        assert not bodies[0] - bodies[1]


@pytest.mark.parametrize(("num_needles", "expected"), [(1, 1), (3, 1), (4, 2), (8, 3)])
def test_the_fewest_items_hold_the_needles(num_needles: int, expected: int) -> None:
    assert SimpleDict().min_items(num_needles) == expected
    assert len(made(0, expected, num_needles).needles) == num_needles


def test_names_can_be_shuffled() -> None:
    haystack = made(3, 30, 2, shuffle_names=True)
    names = [name for name, _ in dictionaries(haystack)]
    assert sorted(names) == list(range(1, 31))
    assert names != sorted(names)
    for needle in haystack.needles:
        assert needle.answer.endswith(f"Dictionary [{names[needle.position]}].")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_items": 2, "num_needles": 7}, "at most 6 needles"),
        ({"num_items": 0}, "at least 1 dictionary"),
        ({"num_items": 30, "num_needles": 2, "key_digits": (1,)}, "key_digits=\\[1\\] gives 9 numbers"),
        ({"keys_per_gold": 0}, "at least 1 key"),
    ],
)
def test_what_cannot_be_made_is_refused_with_numbers(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        made(**arguments)  # type: ignore[arg-type]


def test_too_many_depths_are_refused() -> None:
    with pytest.raises(UserError, match="2 dictionaries with needles were given 5 depths"):
        make(SimpleDict(), np.random.default_rng(0), 2, 5, depths=(0, 0, 0, 0, 1))


@pytest.mark.parametrize(("needles", "depths"), [(2, (0.5,)), (1, (0.2, 0.8)), (1, (-0.1,))])
def test_depths_that_are_not_one_for_each_dictionary_with_needles_are_refused(
    needles: int, depths: tuple[float, ...]
) -> None:
    with pytest.raises(UserError, match="depth"):
        make(SimpleDict(), np.random.default_rng(0), 10, needles, depths=depths)
