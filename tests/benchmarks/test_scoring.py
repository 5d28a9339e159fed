from __future__ import annotations

import pytest

from needlework.benchmarks.scoring import best_subspan_em, contained_match, exact_match


@pytest.mark.parametrize(
    ("output", "hit"),
    [
        ("It was the Denver Broncos.", True),
        ("denver   broncos", True),
        ("Carolina Panthers\nDenver Broncos", False),  # only the first line counts
        ("\nDenver Broncos", False),
        ("", False),
    ],
)
def test_best_subspan_em(output: str, hit: bool) -> None:
    assert best_subspan_em(output, ["The Broncos of Denver", "Denver Broncos"]) is hit


def test_exact_match_wants_nothing_else() -> None:
    assert exact_match("The Paris.", ["paris"])
    assert not exact_match("It is Paris.", ["paris"])


def test_contained_match_wants_whole_words() -> None:
    assert contained_match("He speaks English and Irish.", ["english"])
    assert not contained_match("Englishmen do.", ["english"])
