from __future__ import annotations

import pytest

from needlework.benchmarks import Benchmark, mdqa
from needlework.corpus import embedded
from needlework.errors import UserError
from needlework.matching import normalize


def build(**changes: object) -> Benchmark:
    options = {
        "documents": 5,
        "positions": (1, 3, 5),
        "paragraphs": 30,
        "questions_per_paragraph": 2,
        "max_new_tokens": 100,
        "half": "eval",
        "seed": 0,
    }
    return mdqa.build(**(options | changes))  # type: ignore[arg-type]


def test_the_prompt_is_the_official_one() -> None:
    haystack = build().haystacks[0]
    message = haystack.message(haystack.needles[0])
    assert message.startswith(
        "Write a high-quality answer for the given question using only the provided search results "
        "(some of which might be irrelevant).\n\nDocument [1](Title: "
    )
    assert message.endswith(f"\n\nQuestion: {haystack.needles[0].question[10:-8]}\nAnswer:")


def test_the_gold_paragraph_alone_holds_an_answer() -> None:
    for haystack in build().haystacks:
        for needle in haystack.needles:
            holds = [any(normalize(answer) in normalize(item) for answer in needle.accepted) for item in haystack.items]
            assert [index for index, each in enumerate(holds) if each] == [needle.position]


def test_a_question_is_asked_at_every_position_among_the_same_documents() -> None:
    benchmark = build()
    by_question: dict[str, list[tuple[int, frozenset[str]]]] = {}
    for haystack in benchmark.haystacks:
        documents = frozenset(item.split("] ", 1)[-1].split("](", 1)[-1] for item in haystack.items)
        for needle in haystack.needles:
            by_question.setdefault(needle.group, []).append((needle.position, documents))
    for asked in by_question.values():
        assert [position for position, _ in asked] == [0, 2, 4]
        assert len({documents for _, documents in asked}) == 1


def test_documents_come_from_different_articles_of_one_half() -> None:
    eval_titles = {row["title"] for row in embedded("squad", "eval")}
    for haystack in build().haystacks:
        titles = [item.split("(Title: ")[1].split(") ")[0] for item in haystack.items]
        assert len(set(titles)) == 5
        assert all(any(full.startswith(title) for full in eval_titles) for title in titles)


def test_training_and_evaluation_halves_share_no_article() -> None:
    halves = [{row["title"] for row in embedded("squad", half)} for half in ("train", "eval")]
    assert not halves[0] & halves[1]
    assert len(halves[0] | halves[1]) == 48


def test_it_depends_on_the_seed_alone() -> None:
    assert build().haystacks == build().haystacks
    assert build().haystacks != build(seed=1).haystacks


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"positions": (1, 6)}, "position 6 lies outside the 5 documents"),
        ({"paragraphs": 5000}, "mdqa has 1184 paragraphs"),
        ({"documents": 60}, "of 27 articles"),
    ],
)
def test_what_cannot_be_built_is_refused_with_numbers(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(**changes)
