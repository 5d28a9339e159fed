from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from needlework.benchmark_settings import MDQA
from needlework.benchmarks import Benchmark, Fit, mdqa
from needlework.corpus import embedded
from needlework.errors import UserError
from needlework.matching import normalize
from needlework.models.chat import Renderer
from tests.benchmarks.official_files import document_rows, oracle_rows, write_rows


def no_length(*arguments: object) -> Any:
    raise AssertionError("no length is asked for")


def build(fit: Fit = no_length, seed: int = 0, **changes: Any) -> Benchmark:
    options = {"documents": 5, "positions": (1, 3, 5), "paragraphs": 30}
    return mdqa.build(MDQA(**(options | changes)), seed=seed, fit=fit)


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


def test_relevant_documents_are_the_same_at_every_position() -> None:
    benchmark = build(distractors="relevant")
    for first, third, fifth in zip(*(benchmark.haystacks[start::3] for start in range(3)), strict=True):
        assert [each.needles[0].position for each in (first, third, fifth)] == [0, 2, 4]
        assert len({each.needles[0].group for each in (first, third, fifth)}) == 1
        texts = [[item.split("](", 1)[1] for item in each.items] for each in (first, third, fifth)]
        assert texts[1] == [*texts[0][1:3], texts[0][0], *texts[0][3:]]
        assert texts[2] == [*texts[0][1:], texts[0][0]]


def test_a_file_is_asked_where_it_has_the_gold_document_or_at_every_position(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "documents.jsonl.gz", document_rows(4, 5, 3))
    as_given = build(file=path, positions=None, paragraphs=4)
    assert [each.needles[0].position for each in as_given.haystacks] == [3] * 4
    assert set((as_given.places or {}).values()) == {"4"}
    # Moving the gold one gives what the official file of that position holds.
    other = write_rows(tmp_path / "other.jsonl.gz", document_rows(4, 5, 1))
    moved, official = build(file=path, positions=(2,), paragraphs=4), build(file=other, positions=None, paragraphs=4)
    assert moved.haystacks == official.haystacks


def test_the_prompt_of_a_file_is_byte_for_byte_the_official_one(tmp_path: Path) -> None:
    rows = document_rows(1, 2, 1)
    rows[0]["question"] += " "
    rows[0]["ctxs"][0]["text"] = " " + rows[0]["ctxs"][0]["text"]
    path = write_rows(tmp_path / "documents.jsonl.gz", rows)
    (haystack,) = build(file=path, documents=2, positions=None, paragraphs=1).haystacks
    assert haystack.message(haystack.needles[0]) == (
        "Write a high-quality answer for the given question using only the provided search results (some of which "
        "might be irrelevant).\n\nDocument [1](Title: Hill 0)  Hill 0 of question 0 has no lake.\n"
        "Document [2](Title: River 0) The river 0 rises in the hills  and ends in the lake number0x.\n\n"
        "Question: where does river 0 end \nAnswer:"
    )


def test_prompts_are_made_of_the_oracle_file(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "oracle.jsonl.gz", oracle_rows(10))
    benchmark = build(file=path, paragraphs=10, distractors="relevant")
    assert len(benchmark.haystacks) == 30
    for haystack in benchmark.haystacks:
        (needle,) = haystack.needles
        assert [index for index, item in enumerate(haystack.items) if needle.answer in item] == [needle.position]


@pytest.mark.parametrize("distractors", ["random", "relevant"])
def test_lengths_are_filled_with_documents(fit: Fit, renderer: Renderer, distractors: str) -> None:
    depths = (0.0, 0.5, 1.0)
    benchmark = build(fit, lengths=(3000, 6000), depths=depths, paragraphs=1, distractors=distractors)
    for haystack in benchmark.haystacks:
        length, last = haystack.meta["length"], len(haystack.items) - 1
        assert renderer.count(haystack) <= length
        assert renderer.count(haystack) > 0.7 * length  # all but a paragraph
        for needle in haystack.needles:
            assert benchmark.places is not None
            depth = depths[["0%", "50%", "100%"].index(benchmark.places[needle.id])]
            assert needle.position == round(depth * last)
    by_length = [{len(each.items) for each in benchmark.haystacks if each.meta["length"] == n} for n in (3000, 6000)]
    assert [len(each) for each in by_length] == [1, 1]
    assert max(by_length[0]) < max(by_length[1])


def test_a_length_beyond_the_text_is_an_error(fit: Fit, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "oracle.jsonl.gz", oracle_rows(10))
    with pytest.raises(UserError, match=r"mdqa has 10 documents .*, too few to fill 5000 tokens"):
        build(fit, file=path, paragraphs=1, lengths=(5000,))


@pytest.mark.parametrize("distractors", ["random", "relevant"])
def test_controls_ask_each_question_once_without_documents_and_with_the_gold_one(distractors: str) -> None:
    benchmark = build(distractors=distractors)
    closed_book, oracle = mdqa.controls(benchmark)
    assert (closed_book.name, oracle.name) == ("mdqa_closed_book", "mdqa_oracle")
    asked = {needle.group: haystack for haystack in benchmark.haystacks for needle in haystack.needles}
    for control in (closed_book, oracle):
        groups = [needle.group for haystack in control.haystacks for needle in haystack.needles]
        assert sorted(groups) == sorted(asked)
    for haystack in closed_book.haystacks:
        question = haystack.needles[0].question
        assert haystack.message(haystack.needles[0]) == question
        assert (question[:10], question[-8:]) == ("Question: ", "\nAnswer:")
    for haystack in oracle.haystacks:
        needle, (item,) = haystack.needles[0], haystack.items
        gold = next(each for each in asked[needle.group].items if each.endswith(item.partition("]")[2]))
        assert (item[:12], needle.position) == ("Document [1]", 0)
        assert gold.partition("]")[2] == item.partition("]")[2]


def test_questions_about_one_paragraph_are_one_cluster_whatever_is_around_it() -> None:
    def clusters(benchmark: Benchmark) -> dict[str, object]:
        return {needle.group: each.meta["cluster"] for each in benchmark.haystacks for needle in each.needles}

    by_distractors = [clusters(build(distractors=each)) for each in ("random", "relevant")]
    shared = by_distractors[0].keys() & by_distractors[1].keys()
    assert len({by_distractors[0][group] for group in shared}) < len(shared)
    assert all(by_distractors[0][group] == by_distractors[1][group] for group in shared)
    assert all(clusters(each) == by_distractors[1] for each in mdqa.controls(build(distractors="relevant")))


def test_it_depends_on_the_seed_alone() -> None:
    assert build().haystacks == build().haystacks
    assert build().haystacks != build(seed=1).haystacks


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"positions": (1, 6)}, "positions has 6, but evaluate.mdqa.documents is 5"),
        ({"paragraphs": 5000}, "mdqa has 11.. paragraphs in the eval half with questions and 4 documents"),
        ({"documents": 1200}, "mdqa has 1184 paragraphs, fewer than the 1200 documents"),
        ({"positions": None}, "positions=null needs an N-document file"),
    ],
)
def test_what_cannot_be_built_is_refused_with_numbers(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(**changes)
