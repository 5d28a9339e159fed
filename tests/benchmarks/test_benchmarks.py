from __future__ import annotations

import pytest

from needlework.benchmarks import embedded


@pytest.mark.parametrize(
    ("name", "rows", "key"),
    [
        ("squad", 2067, "questions"),
        ("qa_wikidata", 20442, "accepted"),
        ("known_unknowns", 46, "choices"),
        ("general_knowledge", 70, "choices"),
    ],
)
def test_embedded_files_are_whole(name: str, rows: int, key: str) -> None:
    found = list(embedded(name))
    assert len(found) == rows
    assert all(row[key] or name == "squad" for row in found)


def test_squad_has_all_its_questions() -> None:
    assert sum(len(row["questions"]) for row in embedded("squad")) == 10565


def test_halves_make_up_the_whole() -> None:
    assert sum(1 for half in ("train", "eval") for _ in embedded("qa_wikidata", half)) == 20442
