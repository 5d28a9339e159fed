from __future__ import annotations

import numpy as np
import pytest

from needlework.errors import RecipeError
from needlework.haystack import Needle
from needlework.tasks import make_task
from needlework.tasks.protocol import make
from tests.tasks.reading import asked, dictionaries, holders, is_near, many

QUESTION = "Report the value of key N and the dictionary it is in, or say that it does not occur."


def key_of(needle: Needle) -> int:
    return asked(needle.question, QUESTION)[0]


def test_a_search_of_the_text_finds_exactly_the_answer_or_nothing() -> None:
    for haystack in many("absent"):
        for needle in haystack.needles:
            key = key_of(needle)
            if values := holders(haystack, key):
                ((name, value),) = values.items()
                assert needle.answer == f"The value of key {key} is {value} and it is in Dictionary [{name}]."
                assert (needle.accepted, needle.position) == ((str(value),), name - 1)
            else:
                assert needle.answer == f"Key {key} does not occur in any dictionary."
                assert (needle.accepted, needle.position) == (("does not occur",), -1)


def test_the_absent_key_is_no_value_either() -> None:
    for haystack in many("absent"):
        values = {value for pairs in dictionaries(haystack).values() for value in pairs.values()}
        assert not any(key_of(needle) in values for needle in haystack.needles)


def test_present_and_absent_keys_have_near_duplicates_alike() -> None:
    counts: dict[bool, list[float]] = {True: [], False: []}
    for haystack in many("absent", 120):
        keys = [key for pairs in dictionaries(haystack).values() for key in pairs]
        for needle in haystack.needles:
            near = sum(is_near(other, key_of(needle)) for other in keys)
            assert near >= 1
            counts[needle.position < 0].append(near * len(haystack.needles) / len(haystack.items))
    assert np.mean(counts[True]) == pytest.approx(np.mean(counts[False]), rel=0.08)


@pytest.mark.parametrize("fraction", [0, 0.2, 0.5, 1])
def test_the_share_of_absent_keys_is_as_configured(fraction: float) -> None:
    absent = [n.position < 0 for h in many("absent", 300, absent_fraction=fraction) for n in h.needles]
    assert np.mean(absent) == pytest.approx(fraction, abs=0.04)


def test_keys_with_a_depth_are_present() -> None:
    haystack = make(make_task("absent", {"absent_fraction": 1}), np.random.default_rng(0), 9, 2, depths=(0, 1))
    assert [needle.position for needle in haystack.needles] == [0, 8]


def test_a_share_above_one_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"absent_fraction is 1\.5"):
        make_task("absent", {"absent_fraction": 1.5})
