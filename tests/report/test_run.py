from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from needlework.errors import DataError
from needlework.haystack import Prediction, read, write
from needlework.report.page import write_report
from needlework.report.run import load
from tests.report.conftest import SAME, averaged, compared, comparison, dump, several, value


@pytest.mark.parametrize(
    ("missing", "command"),
    [
        ("comparison.json", "needlework compare"),
        ("before/predictions-kv.jsonl", "needlework evaluate"),
        ("after/summary.json", "needlework evaluate"),
        ("train/metrics.jsonl", "needlework finetune"),
    ],
)
def test_a_missing_file_is_named_with_the_command_that_writes_it(run: Path, missing: str, command: str) -> None:
    (run / missing).unlink()
    path = run / missing
    with pytest.raises(DataError) as error:
        write_report(run)
    assert str(error.value) == f"{path.parent} has no {path.name}; run `{command}` first"
    assert not (run / "report.html").exists()


def with_skipped(counts: dict[str, int]) -> dict[str, Any]:
    numbers = compared(kv=SAME)
    numbers["benchmarks"]["kv"]["skipped"] = counts
    return numbers


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("comparison.json", "{", "is not JSON"),
        ("comparison.json", "[]", "should be a JSON object"),
        ("comparison.json", '{"before": "a"}', "lacks 'after'"),
        ("comparison.json", json.dumps(comparison()), "compares no benchmark"),
        (
            "comparison.json",
            json.dumps(compared(kv=SAME | {"p": float("nan")})),
            "p should be a finite number",
        ),
        ("comparison.json", json.dumps(compared(kv=SAME)).replace("{}", "[1]", 1), "should be a JSON object"),
        ("comparison.json", json.dumps(compared(kv=SAME) | {"others": {}}), "others should be a JSON list"),
        ("comparison.json", json.dumps(compared(kv=SAME) | {"others": [{"after": "c"}]}), "lacks 'benchmarks'"),
        ("comparison.json", json.dumps(compared(kv=SAME) | {"folders": ["before"]}), "should name the 2 evaluations"),
        ("comparison.json", json.dumps(compared(kv=SAME) | {"measures": {"drift": [1]}}), "drift should be a JSON"),
        (
            "comparison.json",
            json.dumps(compared(kv=SAME) | {"measures": {"drift": {"kl": value(1, float("inf"))}}}),
            "drift, kl, after should be a finite number",
        ),
        ("comparison.json", json.dumps(with_skipped({"before": 1})), "skipped lacks 'after'"),
        ("after/summary.json", '{"model": "m", "benchmarks": {"kv": {"titles": {}, "n": 3}}}', "lacks 'seconds'"),
        ("after/summary.json", '{"model": "m", "benchmarks": [1]}', "benchmarks should be a JSON object"),
        ("train/metrics.jsonl", '{"step": 1}', "line 1 lacks 'loss'"),
        ("before/predictions-kv.jsonl", "{}", "line 1: Prediction lacks"),
    ],
)
def test_a_malformed_file_is_named_with_what_is_wrong(run: Path, name: str, content: str, said: str) -> None:
    (run / name).write_text(content)
    with pytest.raises(DataError) as error:
        load(run)
    assert str(run / name) in str(error.value)
    assert said in str(error.value)


def without(folder: Path, count: int, skipped: bool) -> None:
    """Take the first predictions of kv away, with or without the reason that they were too long."""
    path = folder / "predictions-kv.jsonl"
    predictions = list(read(Prediction, path))
    write(predictions[count:], path)
    if skipped:
        lines = [json.dumps({"id": each.id, "reason": "needs 9 tokens"}) for each in predictions[:count]]
        (folder / "skipped-kv.jsonl").write_text("\n".join(lines))


def test_predictions_that_do_not_pair_are_refused(run: Path) -> None:
    without(run / "after", 1, skipped=False)
    with pytest.raises(DataError, match=r"kv was asked differently in .*, such as 'kv/0000'"):
        load(run)


def test_what_was_too_long_for_one_model_is_shown_but_in_no_pair(run: Path) -> None:
    without(run / "before", 2, skipped=True)
    loaded = load(run)
    assert [pair.before.id for pair in loaded.pairs("kv", 0)] == [f"kv/{number:04}" for number in range(2, 12)]
    assert [tuple(each and each.id for each in answer) for answer in loaded.answers["kv"][-2:]] == [
        (None, "kv/0000"),
        (None, "kv/0001"),
    ]


def test_a_run_is_made_by_its_command_alone(run: Path) -> None:
    for side in ("before", "after"):
        dump({"command": "needlework run demo --output runs/demo"}, run / side / "environment.json")
    assert load(run).commands == ["needlework run demo --output runs/demo"]
    for folder in (run, run / "before", run / "after"):
        (folder / "environment.json").unlink()
    assert load(run).commands == [f"needlework report {run}"]


def test_evaluations_compared_by_hand_are_made_by_the_commands_of_each(run: Path) -> None:
    (run / "environment.json").unlink()
    for side in ("before", "after"):
        dump({"command": f"needlework evaluate m --output {side}"}, run / side / "environment.json")
    assert load(run).commands == [
        "needlework evaluate m --output before",
        "needlework evaluate m --output after",
        f"needlework compare {run / 'before'} {run / 'after'} --output {run}",
        f"needlework report {run}",
    ]


def test_two_runs_are_called_before_and_after(run: Path) -> None:
    loaded = load(run)
    assert loaded.labels == ["before", "after"]
    assert loaded.seconds == [184.5, 184.5]
    assert len(loaded.pairs("kv", 0)) == 12


def test_more_runs_are_called_by_their_models_and_read_from_their_folders(run: Path) -> None:
    loaded = load(several(run))
    assert loaded.labels == ["smollm2-135m", "demo (finetuned)", "org/third"]
    assert [side.model for side in loaded.sides] == ["/runs/demo/train/model", "org/third"]
    assert [each.hit for answer in loaded.answers["kv"][:1] for each in answer if each] == [False, True, True]


def test_a_run_that_was_not_asked_a_benchmark_has_no_answers_to_it(run: Path) -> None:
    loaded = load(several(run))
    assert [answer[2] for answer in loaded.answers["knowledge"]] == [None] * 12
    assert loaded.pairs("knowledge", 1) == []
    assert loaded.tables("knowledge", "overall")[1] == {}


def test_benchmarks_that_only_a_later_run_was_compared_on_come_last(run: Path) -> None:
    numbers = json.loads((several(run) / "comparison.json").read_text())
    numbers["benchmarks"] = {"mdqa": numbers["benchmarks"]["mdqa"]}
    dump(numbers, run / "comparison.json")
    assert list(load(run).titles) == ["mdqa", "kv"]


def test_a_mean_is_asked_for_again_by_its_option(run: Path) -> None:
    (run / "environment.json").unlink()
    averaged(run)
    for name in ("before", "after", "third"):
        dump({"command": f"needlework evaluate m --output {name}"}, run / name / "environment.json")
    assert load(run).commands[-2] == (
        f"needlework compare {run / 'before'} {run / 'after'} {run / 'third'} --mean --output {run}"
    )
