from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from needlework.errors import RecipeError
from needlework.tasks import make_task
from needlework.tasks.protocol import make
from tests.tasks.reading import asked, holders, many

QUESTION = "Report all values of key N and the dictionaries they are in, in their order."


def test_a_search_of_the_text_finds_exactly_the_answer_in_the_order_of_the_dictionaries() -> None:
    for haystack in many("collect"):
        for needle in haystack.needles:
            (key,) = asked(needle.question, QUESTION)
            values = holders(haystack, key)
            assert len(values) == len(set(values.values()))
            *before, last = [f"{value} in Dictionary [{name}]" for name, value in values.items()]
            found = f"{', '.join(before)} and {last}"
            assert needle.answer == f"The values of key {key} are {found}."
            assert needle.accepted == (found,)
            assert needle.position + 1 in values


def test_keys_occur_two_to_four_times_equally_often() -> None:
    seen = Counter(
        needle.answer.count("Dictionary") for haystack in many("collect", 500) for needle in haystack.needles
    )
    assert set(seen) == {2, 3, 4}
    assert all(count / seen.total() == pytest.approx(1 / 3, abs=0.04) for count in seen.values())


def test_a_given_depth_is_that_of_one_of_the_dictionaries_and_the_others_lie_on_both_sides() -> None:
    sides = set()
    for seed in range(50):
        (needle,) = make(make_task("collect"), np.random.default_rng(seed), 21, depths=(0.5,)).needles
        assert needle.position == 10
        assert "in Dictionary [11]" in needle.answer
        listed = [int(part.split("]")[0]) for part in needle.answer.split("Dictionary [")[1:]]
        sides |= {name < 11 for name in listed if name != 11}
    assert sides == {True, False}


def test_one_value_is_nothing_to_collect() -> None:
    with pytest.raises(RecipeError, match=r"occurrences\.1 is 1"):
        make_task("collect", {"occurrences": [2, 1]})
