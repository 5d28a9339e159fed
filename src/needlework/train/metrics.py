"""The metrics of a training: one line per step."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from needlework import processes
from needlework.errors import UserError
from needlework.memory import release
from needlework.storage import write_text
from needlework.train.checkpoints import folder_of, keep_only, mark_complete
from needlework.train.held_out import VALUE

RELEASE_STEPS = 10
"""Steps after which freed memory is given back. Doing so after each took a tenth of the time to get it again."""


class Tally:
    """What this process has seen since the last step."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.answers = self.tokens = self.asked = 0
        self.samples: list[int] = []
        self.found: list[torch.Tensor] = []
        """Of each sample the answer tokens that were right, and whether its loss is finite; where they were computed,
        because reading them would make a GPU wait between forward and backward."""

    def add(self, loss: torch.Tensor, logits: torch.Tensor, inputs: dict[str, Any]) -> None:
        if inputs["filling"]:
            return
        labels = inputs["labels"]
        self.answers += len(inputs["layout"].branches)
        self.tokens += inputs["input_ids"].numel()
        self.asked += labels.numel()
        self.samples.append(inputs["sample"])
        self.found.append(torch.stack([(logits.argmax(-1) == labels).sum(), torch.isfinite(loss)]))

    def collect(self, gather: Callable[[torch.Tensor], torch.Tensor], device: torch.device) -> dict[str, Any]:
        """Return what all processes have seen, and start over.

        Args:
            gather: From the row of one process to those of all, stacked.
            device: Where `gather` needs the tensor.
        """
        found = torch.stack(self.found).tolist() if self.found else []
        right = sum(tokens for tokens, _ in found)
        bad = [sample for sample, (_, is_finite) in zip(self.samples, found, strict=True) if not is_finite]
        diverged = bad[0] if bad else -1
        own = torch.tensor([[self.answers, self.tokens, right, self.asked, diverged]], device=device)
        self.clear()
        rows = gather(own)
        answers, tokens, right, asked = rows[:, :4].sum(0).tolist()
        seen = {"answer_accuracy": right / max(1, asked), "answers": answers, "tokens": tokens}
        samples = [sample for sample in rows[:, 4].tolist() if sample >= 0]
        return seen | ({"diverged": min(samples)} if samples else {})


class Metrics(TrainerCallback):
    """Writes a line a step to metrics.jsonl and reports it; goes on with the file after a resume.

    What is reported also holds the last held-out check.
    """

    def __init__(
        self, path: Path, report: Callable[[dict[str, Any]], None], place: Callable[[int], str] = "sample {}".format
    ) -> None:
        self.path = path
        self.report = report
        self.place = place
        """From the number of a sample to what it is called where it comes from."""
        self.kept: list[dict[str, Any]] | None = []
        """Lines of earlier runs to keep, until this run writes its first line after them."""
        self.answers = self.tokens = self.resumed = 0
        self.before = 0.0
        """Seconds that earlier runs took."""
        self.start = time.perf_counter()
        self.checked: dict[str, float] = {}
        """What the last held-out check found."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        rows = []
        if self.path.exists():
            rows = [row for line in self.path.read_text(encoding="utf-8").splitlines() if (row := _parse(line))]
        self.kept = [row for row in rows if row["step"] <= state.global_step]
        if self.kept:
            self.answers, self.tokens = self.kept[-1]["answers"], self.kept[-1]["tokens"]
            self.resumed = self.answers
        # Steps that are repeated took time all the same.
        self.before = rows[-1]["seconds"] if rows else 0.0
        self.start = time.perf_counter()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        if not logs or "loss" not in logs:
            return
        self._check_finite(state.global_step, logs)
        if not processes.is_first():
            return
        seconds = time.perf_counter() - self.start
        self.answers += logs["answers"]
        self.tokens += logs["tokens"]
        row = {
            "step": state.global_step,
            "steps": state.max_steps,
            "loss": logs["loss"],
            "answer_accuracy": logs["answer_accuracy"],
            "learning_rate": logs["learning_rate"],
            "grad_norm": logs.get("grad_norm", 0.0),
            "seconds": round(self.before + seconds, 2),
            "answers": self.answers,
            "tokens": self.tokens,
            "answers_per_second": round((self.answers - self.resumed) / seconds, 3),
        }
        checked = {key: value for key, value in logs.items() if key.startswith("held_out")}
        self.checked |= checked
        self._write(row | checked)
        self.report(row | self.checked)

    def _write(self, row: dict[str, Any]) -> None:
        if self.kept is None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            return
        # Lines after the checkpoint are dropped only now: until then they say how long the training took.
        write_text(self.path, "".join(json.dumps(each) + "\n" for each in [*self.kept, row]))
        self.kept = None

    def _check_finite(self, step: int, logs: dict[str, Any]) -> None:
        """Stop a training that has diverged, in every process.

        Raises:
            UserError: In the first; names the sample.
        """
        gradient = logs.get("grad_norm", 0.0)
        if math.isfinite(logs["loss"]) and math.isfinite(gradient):
            return
        if "diverged" in logs:
            what = f"the loss of {self.place(logs['diverged'])} became {logs['loss']}"
        else:
            what = f"the gradient became {gradient}"
        advice = "Lower the learning rate" if step > 1 else "That is before any update: try model.precision=fp32"
        raise processes.agreed(UserError(f"{what} at step {step}. {advice}."))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step % RELEASE_STEPS == 0:
            release()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        saved = Path(args.output_dir)
        mark_complete(folder_of(saved, state.global_step))
        # Trainer would delete them earlier, while a kill could still leave the new one incomplete.
        keep_only(saved, {state.global_step, state.best_global_step})


def note(row: dict[str, Any]) -> str:
    """Return what to show of a reported line."""
    parts = [f"loss {row['loss']:.3f}", f"{row['answer_accuracy']:.0%} of answer tokens right"]
    if VALUE in row:
        parts.append(f"{row[VALUE]:.0%} of held-out values found")
    return ", ".join([*parts, f"{row['answers_per_second']:.3g} answers/s"])


def _parse(line: str) -> dict[str, Any] | None:
    try:
        row: dict[str, Any] = json.loads(line)
    except json.JSONDecodeError:
        return None  # cut off by a kill
    return row
