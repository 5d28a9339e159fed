from __future__ import annotations

from needlework.matching import normalize


def test_normalize_drops_case_punctuation_articles_and_space() -> None:
    assert normalize("  The  Denver-Broncos, (an) NFL team!") == "denverbroncos nfl team"
