from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest

from needlework.cli import main
from needlework.haystack import Prediction, write
from needlework.storage import write_json


def evaluation(folder: Path, hits: int, of: int = 10, name: str = "mdqa") -> str:
    """As many questions at one place, of which the first ones hit."""
    predictions = [
        Prediction(str(i), str(i), str(i), "q", ("x",), "", 0, "1", None, 5, "o", i < hits) for i in range(of)
    ]
    write(predictions, folder / f"predictions-{name}.jsonl")
    asked = {name: {"titles": {"contained": "Multi-document QA"}, "seconds": 1.5}}
    write_json(folder / "summary.json", {"model": folder.name, "benchmarks": asked})
    return str(folder)


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["needlework", *arguments])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_compare_prints_a_table_and_writes_on_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    sides = [evaluation(tmp_path / "b", 2), evaluation(tmp_path / "a", 9)]
    assert call(monkeypatch, "compare", *sides) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "+70.0" in said
    assert "Going from b to a raised" in said
    assert call(monkeypatch, "compare", *sides, "--output", str(tmp_path / "out")) == 0
    assert f"As a page: needlework report {tmp_path / 'out'}" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["comparison.json", "rows.csv", "table.md"]


def test_compare_adds_the_mean_of_trainings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    runs = [evaluation(tmp_path / name, hits, 40) for name, hits in (("b", 2), ("x", 30), ("y", 32), ("z", 34))]
    assert call(monkeypatch, "compare", *runs, "--mean", "--output", str(tmp_path / "out")) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "mean of 3 trainings 80.0%" in said
    assert said.count("Going from") == 1
    assert "Going from b to the mean of 3 trainings raised multi-document QA from 5% to 80%." in said
    rows = list(csv.DictReader((tmp_path / "out" / "rows.csv").open()))
    assert [row["rate"] for row in rows if row["run"] == "mean of 3 trainings"] == ["0.8", "0.8"]
    assert "| mean of 3 trainings | 80.0%" in (tmp_path / "out" / "table.md").read_text()
    # The gate judges each training, of which a mean could hide one.
    assert call(monkeypatch, "gate", str(tmp_path / "out"), "--benchmark", "mdqa") == 0
    assert capsys.readouterr().out.count("no harm") == 3


def test_compare_puts_several_runs_beside_each_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    runs = [evaluation(tmp_path / name, hits) for name, hits in (("base", 2), ("one", 9), ("two", 4))]
    assert call(monkeypatch, "compare", *runs, "--output", str(tmp_path / "out")) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "run mdqa, n = 10" in lines
    assert [line.split()[1] for line in lines if line.startswith(("base", "one", "two"))] == ["20.0%", "90.0%", "40.0%"]
    rows = list(csv.DictReader((tmp_path / "out" / "rows.csv").open()))
    assert {(row["run"], row["rate"]) for row in rows if not row["position"]} == {
        ("base", "0.2"), ("one", "0.9"), ("two", "0.4"),
    }  # fmt: skip


def test_compare_names_what_only_one_run_was_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    sides = [evaluation(tmp_path / "b", 2), evaluation(tmp_path / "a", 9)]
    path = tmp_path / "a" / "summary.json"
    summary = json.loads(path.read_text())
    summary["benchmarks"]["flenqa"] = summary["benchmarks"]["mdqa"]
    write_json(path, summary)
    assert call(monkeypatch, "compare", *sides) == 0
    assert "Not compared, asked of a alone: flenqa." in capsys.readouterr().out


def test_compare_says_what_was_left_out_as_too_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    sides = [evaluation(tmp_path / "b", 2), evaluation(tmp_path / "a", 7, of=8)]
    lines = [json.dumps({"id": each, "reason": "needs 9 tokens"}) for each in ("8", "9")]
    (tmp_path / "a" / "skipped-mdqa.jsonl").write_text("\n".join(lines))
    assert call(monkeypatch, "compare", *sides) == 0
    assert "mdqa, a: paired on 8 needles; left out as too long: 2 for a." in capsys.readouterr().out


def test_compare_says_how_many_needles_a_change_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    sides = [evaluation(tmp_path / "b", 2), evaluation(tmp_path / "a", 9)]
    assert call(monkeypatch, "compare", *sides, "--detect", "5") == 0
    assert "a, mdqa: 155 needles in 155 clusters; here 10 in 10" in capsys.readouterr().out
    assert call(monkeypatch, "compare", *sides, "--detect", "-5") == 2
    assert "--detect is -5" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("before", "after", "code", "said"),
    [
        (200, 200, 0, "no harm: a loss of 2 points is ruled out"),
        (200, 150, 1, "harm: the loss is more than 2 points"),
        (200, 197, 3, "needles in"),
    ],
)
def test_the_gate_exits_with_its_judgement(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    before: int,
    after: int,
    code: int,
    said: str,
) -> None:
    sides = [evaluation(tmp_path / name, hits, 400, "knowledge") for name, hits in (("b", before), ("a", after))]
    assert call(monkeypatch, "gate", *sides, "--benchmark", "knowledge", "--margin", "2") == code
    assert said in capsys.readouterr().out


def test_the_gate_reads_a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sides = [evaluation(tmp_path / name, 200, 400, "knowledge") for name in ("b", "a")]
    assert call(monkeypatch, "compare", *sides, "--output", str(tmp_path / "run")) == 0
    assert call(monkeypatch, "gate", str(tmp_path / "run")) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--benchmark", "mmlu"], "'mmlu' was not compared for a. Compared: mdqa; for several, repeat --benchmark."),
        ([], "no benchmark of a is one that finetuning should keep"),
        (["--benchmark", "mdqa", "--margin", "0"], "--margin is 0: give a number of percentage points"),
    ],
)
def test_what_the_gate_cannot_judge_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    options: list[str],
    message: str,
) -> None:
    sides = [evaluation(tmp_path / name, 5) for name in ("b", "a")]
    assert call(monkeypatch, "gate", *sides, *options) == 2
    assert message in capsys.readouterr().err


def test_the_gate_names_a_folder_without_comparison(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert call(monkeypatch, "gate", str(tmp_path)) == 2
    assert "/comparison.json. Give a run's folder, or two folders of evaluations." in capsys.readouterr().err
