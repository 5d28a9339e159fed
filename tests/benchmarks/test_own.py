from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from needlework.benchmark_settings import Own
from needlework.benchmarks import Benchmark, own
from needlework.errors import DataError
from needlework.haystack import Needle


def line(position: int = -1, items: int = 5, **changes: Any) -> dict[str, Any]:
    needle = {"question": "Who signed it?", "answer": "Ann did.", "accepted": ["Ann", "Anna Lee"], "position": position}
    return {"items": [f"document {index}" for index in range(items)], "needles": [needle]} | changes


def build(path: Path, lines: list[dict[str, Any]], haystacks: int | None = None, seed: int = 0) -> Benchmark:
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    return own.build(Own(file=str(path), haystacks=haystacks), seed=seed)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mine.jsonl"


def test_every_haystack_of_a_file_is_asked(path: Path) -> None:
    benchmark = build(path, [line(), line(items=1), {"needles": [{"question": "2 + 2?", "answer": "4"}]}])
    assert [each.id for each in benchmark.haystacks] == ["1", "2", "3"]
    assert benchmark.haystacks[2].message(benchmark.haystacks[2].needles[0]) == "2 + 2?"


def test_positions_are_tabulated_by_quarters_where_they_are_known(path: Path) -> None:
    lines = [line(0), line(1), line(4), line(9, 20), line(10, 20), line(19, 20), line(), line(0, 1)]
    places = build(path, lines).places
    assert list((places or {}).values()) == ["0%", "25%", "100%", "50%", "50%", "100%", "", ""]


def test_so_many_are_drawn_by_seed_in_the_order_of_the_file(path: Path) -> None:
    drawn = [[int(each.id) for each in build(path, [line()] * 30, 10, seed).haystacks] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0] == sorted(set(drawn[0]))
    assert len(drawn[0]) == 10


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "mine.jsonl holds no haystacks: it is empty"),
        ([line(), line(position=5)], r"mine.jsonl, line 2: needles\[0\].position is 5, but there are 5 items"),
        ([line(id="a"), line(id="a")], "mine.jsonl, line 2: the id 'a' is on line 1 already"),
        ([line(meta={"length": "long"})], "mine.jsonl, line 1: meta.length is 'long'; it should be a number of tokens"),
        ([line(needles=[{"question": "?", "answer": "Ann", "accepted": []}])], r"line 1: needles\[0\] accepts nothing"),
        ([line(needles=[{"question": "Which?", "answer": "(A)"}])], r"line 1: needles\[0\] accepts '\(A\)', of which"),
        ([line()] * 3, "mine.jsonl has 3 haystacks, fewer than the 4 asked for"),
    ],
)
def test_what_cannot_be_asked_is_named(path: Path, lines: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        build(path, lines, 4 if len(lines) == 3 else None)


@pytest.mark.parametrize(
    ("accepted", "output", "contained"),
    [
        ("950", "The rent is €950.", True),
        ("950", "“950€”", True),
        ("1950", "1,950 euros", True),
        ("950", "9.50", False),
        ("9.50", "9,50 euros", True),
        ("3.5", "35 percent", False),
        ("Paris", "Paris\N{RIGHT SINGLE QUOTATION MARK}s…", True),
        ("Paris", "Paris's", True),
        ("it's", "It\N{RIGHT SINGLE QUOTATION MARK}s.", True),
        ("Hawai\N{MODIFIER LETTER APOSTROPHE}i", "Hawai'i", True),
        ("2019-2021", "2019\N{EN DASH}2021", True),
        ("U.S.", "the US", True),
        ("東京", "東京。", True),
        ("cafe\N{COMBINING ACUTE ACCENT}", "A caf\N{LATIN SMALL LETTER E WITH ACUTE}.", True),
    ],
)
def test_marks_around_an_answer_do_not_count_and_those_within_a_number_do(
    accepted: str, output: str, contained: bool
) -> None:
    needle = Needle("a", "a", "?", accepted, (accepted,), -1)
    assert own.score(needle, output)["contained"] == contained


@pytest.mark.parametrize(
    ("output", "contained", "exact"),
    [
        ("ann.", True, True),
        ("The contract says:\n\nIt was signed by Anna Lee.", True, False),
        ("Annabel did.", False, False),
        ("", False, False),
    ],
)
def test_an_accepted_answer_counts_anywhere_in_the_output(output: str, contained: bool, exact: bool) -> None:
    needle = Needle("a", "a", "?", "Ann did.", ("Ann", "Anna Lee"), -1)
    assert own.score(needle, output) == {"contained": contained, "exact": exact}
