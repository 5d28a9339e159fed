from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from needlework.errors import UserError
from needlework.train.metrics import COMPLETE, Metrics, Tally


def metrics(folder: Path) -> Metrics:
    return Metrics(folder / "metrics.jsonl", Tally(), lambda row: None)


def log(writer: Metrics, step: int, loss: float) -> None:
    args, state = (
        SimpleNamespace(gradient_accumulation_steps=4),
        SimpleNamespace(global_step=step, max_steps=9),
    )
    writer.on_log(args, state, None, {"loss": loss, "learning_rate": 0.1, "grad_norm": 2.0})


def test_a_line_a_step_is_written(tmp_path: Path) -> None:
    writer = metrics(tmp_path)
    writer.tally.right, writer.tally.asked, writer.tally.answers = 3, 4, 8
    log(writer, 1, 0.5)
    row = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert (row["step"], row["steps"], row["loss"], row["answer_accuracy"], row["answers"]) == (
        1,
        9,
        0.5,
        0.75,
        8,
    )
    assert writer.tally.asked == 0


def test_a_resumed_training_drops_what_comes_after_its_checkpoint(tmp_path: Path) -> None:
    writer = metrics(tmp_path)
    for step in (1, 2, 3):
        log(writer, step, 0.5)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    metrics(tmp_path).on_train_begin(None, SimpleNamespace(global_step=2), None)
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2]


def test_a_loss_that_is_not_finite_stops_with_its_samples(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the loss became nan at step 3 \(rows 8 to 11 of the training\)"):
        log(metrics(tmp_path), 3, float("nan"))


def test_a_checkpoint_is_marked_complete(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-5").mkdir()
    args = SimpleNamespace(output_dir=str(tmp_path))
    metrics(tmp_path).on_save(args, SimpleNamespace(global_step=5), None)
    assert (tmp_path / "checkpoint-5" / COMPLETE).exists()
