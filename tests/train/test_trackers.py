from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import LlamaForCausalLM, TrainerCallback, TrainerState

from needlework.errors import UserError
from needlework.models.chat import Renderer
from needlework.train.trackers import check, tracking
from needlework.train.trainer import finetune
from tests.train.test_trainer import SETTINGS, changed, haystacks


def test_a_missing_package_is_told_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"tensorboard": ModuleSpec("tensorboard", None, origin="file"), "wandb": ModuleSpec("wandb", None)}
    monkeypatch.setattr("needlework.train.trackers.find_spec", found.get)
    check(("tensorboard",))
    with pytest.raises(
        UserError, match=r"has wandb, which is not installed: pip install -e '\.\[wandb\]' in the clone"
    ):
        check(("tensorboard", "wandb"))


def test_wandb_that_does_not_begin_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Error(Exception):
        pass

    def init(**_: Any) -> None:
        raise Error("No API key\nconfigured.")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, errors=SimpleNamespace(Error=Error)))
    with (
        pytest.raises(UserError, match=r"No API key configured\. .*WANDB_MODE=offline\.$"),
        tracking(("wandb",), tmp_path),
    ):
        pass


def test_tensorboard_has_what_metrics_has(model: LlamaForCausalLM, renderer: Renderer, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = changed(SETTINGS, epochs=1, trackers=("tensorboard",))
    finetune(model, renderer, haystacks(renderer), settings, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    read = EventAccumulator(str(tmp_path / "logs")).Reload()
    for key in ("loss", "answer_accuracy", "learning_rate", "grad_norm"):
        found = [(each.step, each.value) for each in read.Scalars(f"train/{key}")]
        assert found == [(row["step"], pytest.approx(row[key], rel=1e-6)) for row in rows]


def test_a_tracker_hears_each_step_and_is_closed_when_training_fails(
    model: LlamaForCausalLM, renderer: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[object] = []

    class Recorder(TrainerCallback):
        def on_log(self, args: Any, state: TrainerState, control: Any, logs: dict[str, float], **_: Any) -> None:
            heard.append(state.global_step)
            if state.global_step == 2:
                raise KeyboardInterrupt

    def open_recorder(name: str, logs: Path, opened: ExitStack) -> TrainerCallback:
        opened.callback(heard.append, f"{name} closed")
        return Recorder()

    monkeypatch.setattr("needlework.train.trackers._open", open_recorder)
    settings = changed(SETTINGS, trackers=("wandb",))
    with pytest.raises(KeyboardInterrupt):
        finetune(model, renderer, haystacks(renderer), settings, tmp_path)
    assert heard == [1, 2, "wandb closed"]
