from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from needlework.tasks import make_task
from needlework.tasks.protocol import make
from tests.tasks.reading import asked, dictionaries, holders, many

QUESTION = (
    "Look up key N, then take the value as the next key, until you have looked up a key N times. "
    "Report the value of each key and the dictionary it is in."
)
KEYS = re.compile(r"The value of key (\d+)")


def test_following_the_chain_in_the_text_gives_exactly_the_answer() -> None:
    for haystack in many("chain"):
        for needle in haystack.needles:
            key, hops = asked(needle.question, QUESTION)
            sentences, names = [], []
            for _ in range(hops):
                ((name, value),) = holders(haystack, key).items()
                sentences.append(f"The value of key {key} is {value} and it is in Dictionary [{name}].")
                names.append(name)
                key = value
            assert needle.answer == " ".join(sentences)
            assert len(set(names)) == hops
            assert (needle.accepted, needle.position) == ((str(key),), names[-1] - 1)


def test_a_chain_ends_where_the_answer_does_and_only_there_stands_its_value() -> None:
    for haystack in many("chain"):
        pairs = [pair for each in dictionaries(haystack).values() for pair in each.items()]
        for needle in haystack.needles:
            final = int(needle.accepted[0])
            assert [key for key, value in pairs if final in (key, value)] == [int(KEYS.findall(needle.answer)[-1])]


def test_hops_are_two_to_four_equally_often_and_go_forth_and_back() -> None:
    hops, forth = Counter[int](), []
    for haystack in many("chain", 500):
        for needle in haystack.needles:
            names = [int(part.split("]")[0]) for part in needle.answer.split("Dictionary [")[1:]]
            hops[len(names)] += 1
            forth += [first < second for first, second in pairwise(names)]
    assert set(hops) == {2, 3, 4}
    assert all(count / hops.total() == pytest.approx(1 / 3, abs=0.04) for count in hops.values())
    assert np.mean(forth) == pytest.approx(0.5, abs=0.04)


def test_a_given_depth_is_that_of_the_final_value() -> None:
    haystack = make(make_task("chain"), np.random.default_rng(0), 21, 2, depths=(0, 1))
    for needle, name in zip(haystack.needles, (1, 21), strict=True):
        assert needle.answer.endswith(f"is {needle.accepted[0]} and it is in Dictionary [{name}].")
