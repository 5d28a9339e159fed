"""What is recorded of a training: a line a step, and which checkpoints are complete."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from needlework.errors import UserError
from needlework.memory import release
from needlework.storage import write_text

COMPLETE = "complete"
"""Marker in a checkpoint folder: written last, so a checkpoint cut off by a kill is never resumed from."""


class Tally:
    """What has been seen since the start, and how many answer tokens were right since the last step."""

    def __init__(self) -> None:
        self.answers = self.tokens = self.right = self.asked = 0

    def add(self, logits: torch.Tensor, labels: torch.Tensor, inputs: dict[str, Any]) -> None:
        self.answers += len(inputs["layout"].branches)
        self.tokens += inputs["input_ids"].numel()
        self.right += int((logits.argmax(-1) == labels).sum())
        self.asked += labels.numel()


class Metrics(TrainerCallback):
    """Writes a line a step to metrics.jsonl and reports it; goes on with the file after a resume."""

    def __init__(self, path: Path, tally: Tally, report: Callable[[dict[str, Any]], None]) -> None:
        self.path = path
        self.tally = tally
        self.report = report
        self.start = time.perf_counter()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        kept = []
        if self.path.exists():
            lines = self.path.read_text(encoding="utf-8").splitlines()
            kept = [row for row in map(_parse, lines) if row and row["step"] <= state.global_step]
        write_text(self.path, "".join(json.dumps(row) + "\n" for row in kept))
        self.start = time.perf_counter()
        if kept:
            self.start -= kept[-1]["seconds"]
            self.tally.answers, self.tally.tokens = kept[-1]["answers"], kept[-1]["tokens"]

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        if not logs or "loss" not in logs:
            return
        row = {
            "step": state.global_step,
            "steps": state.max_steps,
            "loss": logs["loss"],
            "answer_accuracy": self.tally.right / max(1, self.tally.asked),
            "learning_rate": logs["learning_rate"],
            "grad_norm": logs.get("grad_norm", 0.0),
            "seconds": round(time.perf_counter() - self.start, 2),
            "answers": self.tally.answers,
            "tokens": self.tally.tokens,
        }
        self.tally.right = self.tally.asked = 0
        if not math.isfinite(row["loss"]):
            first = (state.global_step - 1) * args.gradient_accumulation_steps
            raise UserError(
                f"the loss became {row['loss']} at step {state.global_step} (rows {first} to "
                f"{first + args.gradient_accumulation_steps - 1} of the training). Lower the learning rate."
            )
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.report(row)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        release()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()


def _parse(line: str) -> dict[str, Any] | None:
    try:
        row: dict[str, Any] = json.loads(line)
    except json.JSONDecodeError:
        return None  # the last line, cut off by a kill
    return row
