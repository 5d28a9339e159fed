from __future__ import annotations

from typing import Any

import pytest

from needlework.benchmark_settings import NIAH
from needlework.benchmarks import Benchmark, Fit, niah
from needlework.corpus import squad
from needlework.errors import UserError
from needlework.haystack import Haystack, Needle
from needlework.models.chat import Renderer
from needlework.tasks.niah import PREAMBLE, cut

DEPTHS = (0.0, 0.5, 1.0)
ONE = Needle(
    *("a", "a", "What is the access code of locker 1281?"),
    *("The access code of locker 1281 is 378852.", ("378852",), 0),
)
ALL = Needle(
    *("b", "b", "What are all the access codes of locker 1281?"),
    *("The access codes of locker 1281 are 378852, 111111, 222222.", ("111111",), 0),
)


def build(fit: Fit, kind: str, seed: int = 0, **changes: Any) -> Benchmark:
    options = {"kind": kind, "lengths": (900, 1500), "depths": DEPTHS, "haystacks": 2}
    return niah.build(NIAH(**(options | changes)), seed=seed, fit=fit)


def needle_sentences(haystack: Haystack) -> list[int]:
    return [index for index, item in enumerate(haystack.items) if "ccess code" in item and " of locker " in item]


def test_a_single_needle_moves_through_the_same_prose(fit: Fit) -> None:
    benchmark = build(fit, "single")
    assert len(benchmark.haystacks) == 12
    for start in range(0, 12, 3):
        moved = benchmark.haystacks[start : start + 3]
        sentences = {haystack.needles[0].answer for haystack in moved}
        assert len(sentences) == len({haystack.needles[0].group for haystack in moved}) == 1
        prose = [[item for item in haystack.items if item not in sentences] for haystack in moved]
        assert prose[0] == prose[1] == prose[2]
        for haystack, depth in zip(moved, DEPTHS, strict=True):
            (needle,) = haystack.needles
            assert needle_sentences(haystack) == [needle.position] == [round(depth * (len(haystack.items) - 1))]
            assert benchmark.places is not None
            assert benchmark.places[needle.id] == f"{depth:.0%}"


def test_several_needles_are_asked_one_by_one(fit: Fit) -> None:
    benchmark = build(fit, "multi_needle")
    assert len(benchmark.haystacks) == 4
    for haystack in benchmark.haystacks:
        assert needle_sentences(haystack) == [needle.position for needle in haystack.needles]
        assert len({needle.question for needle in haystack.needles}) == 3
        assert all(haystack.items[needle.position] == needle.answer for needle in haystack.needles)


def test_several_values_are_asked_together(fit: Fit) -> None:
    for haystack in build(fit, "multi_value").haystacks:
        assert needle_sentences(haystack) == [needle.position for needle in haystack.needles]
        assert len({(needle.question, needle.answer) for needle in haystack.needles}) == 1
        for needle in haystack.needles:
            assert needle.accepted[0] in haystack.items[needle.position]
            assert needle.accepted[0] in needle.answer


@pytest.mark.parametrize("kind", ["single", "multi_needle", "multi_value"])
def test_lengths_are_filled_with_prose_that_is_not_trained_on(fit: Fit, renderer: Renderer, kind: str) -> None:
    trained, evaluated = (" ".join(passage.text for passage in squad(half)) for half in ("train", "eval"))
    for haystack in build(fit, kind).haystacks:
        longest = max(len(renderer.encode([item])[0]) for item in haystack.items)
        assert haystack.preamble == PREAMBLE
        assert haystack.meta["length"] - 2 * longest < renderer.count(haystack) <= haystack.meta["length"]
        prose = [item for index, item in enumerate(haystack.items) if index not in needle_sentences(haystack)]
        assert all(sentence in evaluated for sentence in prose)
        # A few words may stand in both by chance.
        assert not any(sentence in trained for sentence in prose if len(sentence.split()) > 7)


def test_it_depends_on_the_seed_alone(fit: Fit) -> None:
    assert build(fit, "single").haystacks == build(fit, "single").haystacks
    assert build(fit, "single").haystacks != build(fit, "single", seed=1).haystacks


def test_a_length_beyond_the_text_is_an_error(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(niah, "_text", lambda: cut(squad("eval")[:5]))
    with pytest.raises(UserError, match=r"the text has \d\d sentences, with 1 needles too few"):
        build(fit, "single", lengths=(30_000,), depths=(0.5,), haystacks=1)


@pytest.mark.parametrize(
    ("output", "hit"),
    [
        (ONE.answer, True),
        ("378,852", True),
        ("Locker 1281: 111111, 378852", False),  # a list of codes finds nothing by accident
        ("37885", False),
        ("1281", False),
        ("", False),
    ],
)
def test_the_first_number_that_is_not_the_lockers_counts(output: str, hit: bool) -> None:
    assert niah.score(ONE, output) == {"code": hit}


@pytest.mark.parametrize(
    ("output", "found", "whole"),
    [
        (ALL.answer, True, True),
        ("222222, 111,111 and 378852", True, True),
        ("378852,111111,222222", True, True),
        ("111111", True, False),
        ("378852, 222222", False, False),
        ("1111112", False, False),
    ],
)
def test_each_value_and_all_of_them_are_scored(output: str, found: bool, whole: bool) -> None:
    assert niah.score_all(ALL, output) == {"code": found, "all": whole}
