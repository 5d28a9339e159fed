from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from needlework.errors import ModelError
from needlework.measures import Measure, Measurement, record


def measured() -> Iterator[Measurement]:
    yield Measurement("a", "g", {"loss": 0.12345678, "other": 1.0})
    yield Measurement("b", "g", {"loss": 0.5})


def test_measurements_are_written_and_counted_and_their_means_returned(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    # A third could not be measured.
    found = record(Measure("m", "M", measured, 3), tmp_path / "m.jsonl", lambda done, total: seen.append((done, total)))
    lines = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert lines[0] == {"id": "a", "group": "g", "values": {"loss": 0.123457, "other": 1.0}}
    assert found == (2, {"loss": 0.311729, "other": 1.0})
    assert seen == [(0, 3), (1, 3), (2, 3)]


def test_a_number_that_is_not_finite_is_refused_where_it_arises(tmp_path: Path) -> None:
    def broken() -> Iterator[Measurement]:
        yield Measurement("a", "g", {"loss": float("nan")})

    with pytest.raises(ModelError, match=r"m is nan on a: .* Set model.precision=fp32"):
        record(Measure("m", "M", broken, 1), tmp_path / "m.jsonl", lambda done, total: None)
    assert not (tmp_path / "m.jsonl").exists()


def test_what_is_there_is_not_measured_again(tmp_path: Path) -> None:
    first = record(Measure("m", "M", measured, 2), tmp_path / "m.jsonl", lambda done, total: None)

    def never() -> Iterator[Measurement]:
        raise AssertionError("measured again")

    assert record(Measure("m", "M", never, 2), tmp_path / "m.jsonl", lambda done, total: None) == first
