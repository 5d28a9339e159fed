from __future__ import annotations

import json
from pathlib import Path

import pytest

from needlework.errors import DataError
from needlework.haystack import Prediction, read, write
from needlework.report.comparison import compare
from tests.report.test_comparison import evaluation


def test_a_mean_of_trainings_is_over_the_needles_that_all_answered(tmp_path: Path) -> None:
    before = evaluation(tmp_path / "b", [False] * 9 + [True] * 3)
    afters = [evaluation(tmp_path / f"a{i}", [True] * (6 + i) + [False] * (6 - i)) for i in range(3)]
    path = afters[1] / "predictions-kv.jsonl"
    kept = [each for each in read(Prediction, path) if each.group != "0"]
    write(kept, path)
    (afters[1] / "skipped-kv.jsonl").write_text(
        "".join(json.dumps({"id": f"0/{place}/{length}", "reason": "too long"}) + "\n"
                for place in ("100%", "0%", "50%") for length in (1024, 512))
    )  # fmt: skip
    comparison = compare(before, *afters, mean=True)
    assert comparison["mean"]["after"] == "mean of 3 trainings"
    found = comparison["mean"]["benchmarks"]["kv"]
    assert (found["overall"]["n"], found["overall"]["clusters"]) == (66, 11)
    assert found["overall"]["after"] == pytest.approx((5 + 6 + 7) / 33, abs=1e-6)
    assert list(found["by_position"]) == ["0%", "50%", "100%"]
    assert "adjusted_p" in found["by_length"]["512"]
    assert comparison["mean"]["benchmarks"]["kv.whole"]["overall"]["after"] == 0
    assert comparison["benchmarks"] == compare(before, afters[0])["benchmarks"]


def test_a_mean_of_fewer_than_three_trainings_is_refused(tmp_path: Path) -> None:
    before, one, two = (evaluation(tmp_path / name, [True] * 12) for name in "abc")
    for runs in ((one,), (one, two), (one, two, two)):
        with pytest.raises(DataError, match="3 different trainings or more"):
            compare(before, *runs, mean=True)
