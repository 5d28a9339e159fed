from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from needlework.benchmark_settings import MDQA
from needlework.benchmarks.cases import Case, cases
from needlework.errors import UserError
from needlework.matching import normalize
from tests.benchmarks.official_files import document_rows, oracle_rows, write_rows


def draw(seed: int = 0, **changes: Any) -> list[Case]:
    options = {"documents": 20, "paragraphs": 30, "questions_per_paragraph": 2, "distractors": "random"}
    return cases(MDQA(**(options | changes)), seed)


@pytest.mark.parametrize("distractors", ["random", "relevant"])
@pytest.mark.parametrize("documents", [5, 20, 120])
def test_no_other_document_holds_an_answer(documents: int, distractors: str) -> None:
    for case in draw(documents=documents, distractors=distractors, paragraphs=10):
        assert len(case.others) == documents - 1
        assert len({each.text for each in (case.gold, *case.others)}) == documents
        answers = [normalize(answer) for question in case.questions for answer in question.accepted]
        for other in case.others:
            assert not any(answer in normalize(f"{other.title} {other.text}") for answer in answers)


def test_random_documents_are_of_different_articles_while_there_are_so_many() -> None:
    assert all(len({each.title for each in (case.gold, *case.others)}) == 27 for case in draw(documents=27))
    assert any(len({each.title for each in case.others}) < 27 for case in draw(documents=28))


def test_relevant_documents_are_each_questions_own() -> None:
    found = draw(distractors="relevant")
    assert all(len(case.questions) == 1 for case in found)
    assert len({case.id for case in found}) == len(found) > 30
    same_article = [sum(each.title == case.gold.title for each in case.others) for case in found]
    assert sum(same_article) / len(found) > 2  # at random there are none


def test_where_lengths_are_to_be_filled_all_documents_are_there() -> None:
    for case in draw(lengths=(3000,), paragraphs=3):
        assert len(case.others) > 900


def test_the_oracle_file_takes_its_distractors_from_other_lines(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "oracle.jsonl.gz", oracle_rows(12))
    for distractors in ("random", "relevant"):
        found = draw(file=path, documents=8, paragraphs=12, distractors=distractors)
        assert len({case.questions[0].id for case in found}) == 12
        for case in found:
            texts = {each.text for each in case.others}
            assert len(texts) == 7
            assert case.gold.text not in texts
            assert all(text.startswith("The river ") for text in texts)


def test_an_n_document_file_has_its_own(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "documents.jsonl.gz", document_rows(6, 5, 3))
    found = draw(file=path, documents=5, paragraphs=6)
    assert {case.place for case in found} == {4}
    for case in found:
        number = int(case.questions[0].id.removeprefix("line ")) - 1
        assert [each.text for each in case.others] == [f"Hill {i} of question {number} has no lake." for i in range(4)]


def test_cases_are_drawn_by_seed(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "oracle.jsonl.gz", oracle_rows(30))
    for changes in ({"distractors": "relevant"}, {"file": path, "documents": 5}):
        drawn = [[case.id for case in draw(**(changes | {"paragraphs": 10, "seed": seed}))] for seed in (0, 0, 1)]
        assert drawn[0] == drawn[1] != drawn[2]


def test_what_a_file_cannot_give_is_refused_with_numbers(tmp_path: Path) -> None:
    oracle = write_rows(tmp_path / "oracle.jsonl.gz", oracle_rows(10))
    documents = write_rows(tmp_path / "documents.jsonl.gz", document_rows(10, 5, 3))
    for changes, message in (
        ({"file": oracle, "documents": 5, "paragraphs": 11}, "mdqa has 10 paragraphs in .*oracle.jsonl.gz"),
        ({"file": oracle, "documents": 11, "paragraphs": 10}, "mdqa has 10 paragraphs, fewer than the 11 documents"),
        ({"file": documents, "documents": 20}, "has 5 documents for each question, not 20. Set mdqa.documents=5"),
    ):
        with pytest.raises(UserError, match=message):
            draw(**changes)
