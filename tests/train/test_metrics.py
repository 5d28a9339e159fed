from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from needlework.dataset.encoded import IGNORED
from needlework.errors import UserError
from needlework.train.checkpoints import COMPLETE
from needlework.train.metrics import Metrics, Tally, note
from needlework.train.shared_prefix import Layout


def metrics(folder: Path) -> Metrics:
    return Metrics(folder / "metrics.jsonl", lambda row: None)


def log(writer: Metrics, step: int, loss: float = 0.5, **more: Any) -> None:
    logs = {"loss": loss, "learning_rate": 0.1, "grad_norm": 2.0, "answer_accuracy": 0.75, "answers": 8, "tokens": 99}
    writer.on_log(None, SimpleNamespace(global_step=step, max_steps=9), None, logs | more)


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_line_a_step_is_written(tmp_path: Path) -> None:
    writer = metrics(tmp_path)
    log(writer, 1)
    log(writer, 2, held_out_value=0.25)
    first, second = rows(tmp_path)
    assert (first["step"], first["steps"], first["loss"], first["answer_accuracy"], first["answers"]) == (
        1,
        9,
        0.5,
        0.75,
        8,
    )
    assert (second["answers"], second["tokens"], second["held_out_value"]) == (16, 198, 0.25)
    assert first["answers_per_second"] > 0


def test_progress_goes_on_showing_the_last_check(tmp_path: Path) -> None:
    shown: list[str] = []
    writer = Metrics(tmp_path / "metrics.jsonl", lambda row: shown.append(note(row).rsplit(", ", 1)[0]))
    log(writer, 1)
    log(writer, 2, held_out_value=0.25)
    log(writer, 3)
    start = "loss 0.500, 75% of answer tokens right"
    assert shown == [start, *[f"{start}, 25% of held-out values found"] * 2]
    assert ["held_out_value" in row for row in rows(tmp_path)] == [False, True, False]


def test_only_the_first_process_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    log(metrics(tmp_path), 1)
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_resumed_training_drops_what_comes_after_its_checkpoint(tmp_path: Path) -> None:
    writer = metrics(tmp_path)
    for step in (1, 2, 3):
        log(writer, step)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    resumed = metrics(tmp_path)
    resumed.on_train_begin(None, SimpleNamespace(global_step=2), None)
    log(resumed, 3, answers=2)
    assert [(row["step"], row["answers"]) for row in rows(tmp_path)] == [(1, 8), (2, 16), (3, 18)]


def test_seconds_are_those_of_all_runs_with_steps_that_were_repeated(tmp_path: Path) -> None:
    spent = [{"step": step, "seconds": 100.0 * step, "answers": 8, "tokens": 9} for step in (1, 2, 3)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in spent))
    # Killed again before its first step: nothing of what the first run spent is lost.
    for _ in range(2):
        resumed = metrics(tmp_path)
        resumed.on_train_begin(None, SimpleNamespace(global_step=2), None)
    log(resumed, 3)
    seconds = [row["seconds"] for row in rows(tmp_path)]
    assert seconds[:2] == [100, 200]
    assert 300 <= seconds[2] < 310


@pytest.mark.parametrize(
    ("step", "logs", "message"),
    [
        (3, {"loss": float("nan"), "diverged": 17}, r"the loss of sample 17 became nan at step 3\. Lower the"),
        (3, {"grad_norm": float("inf")}, r"the gradient became inf at step 3\. Lower the"),
        (1, {"grad_norm": float("inf")}, r"the gradient became inf at step 1\. That is before any update"),
    ],
)
def test_what_is_not_finite_stops_the_training(tmp_path: Path, step: int, logs: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        log(metrics(tmp_path), step, **logs)


@pytest.mark.parametrize(("best", "left"), [(None, ["checkpoint-6"]), (2, ["checkpoint-2", "checkpoint-6"])])
def test_a_checkpoint_is_marked_complete_and_those_before_it_go_but_the_best(
    tmp_path: Path, best: int | None, left: list[str]
) -> None:
    for step in (2, 4, 6):
        (tmp_path / f"checkpoint-{step}").mkdir()
    args = SimpleNamespace(output_dir=str(tmp_path))
    metrics(tmp_path).on_save(args, SimpleNamespace(global_step=6, best_global_step=best), None)
    assert (tmp_path / "checkpoint-6" / COMPLETE).exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == left


def add(tally: Tally, sample: int, labels: list[int], loss: float = 0.5) -> None:
    """Add a row of two answers and nine tokens whose likeliest tokens are 0, 1, 2 and so on."""
    inputs = {
        "sample": sample,
        "filling": labels[0] == IGNORED,
        "labels": torch.tensor(labels),
        "layout": Layout(3, (3, 3)),
        "input_ids": torch.zeros(1, 9),
    }
    tally.add(torch.tensor(loss), torch.eye(len(labels)), inputs)


def test_a_tally_adds_up_over_rows_and_processes() -> None:
    tally = Tally()
    add(tally, 4, [0, 1, 9])
    add(tally, 5, [0, 9, 9])
    add(tally, 0, [IGNORED, IGNORED])
    other = torch.tensor([[1, 10, 4, 4, -1]])
    seen = tally.collect(lambda own: torch.cat([own, other]), torch.device("cpu"))
    assert seen == {"answers": 5, "tokens": 28, "answer_accuracy": 0.7}


def test_a_tally_names_the_first_sample_whose_loss_is_not_finite() -> None:
    tally = Tally()
    for sample, loss in ((4, 0.5), (5, float("inf")), (6, float("nan"))):
        add(tally, sample, [0, 1], loss)
    others = torch.tensor([[1, 10, 4, 4, 9], [1, 10, 4, 4, -1]])
    assert tally.collect(lambda own: torch.cat([own, others]), torch.device("cpu"))["diverged"] == 5
    assert "diverged" not in tally.collect(lambda own: own, torch.device("cpu"))
