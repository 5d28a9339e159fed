"""Two processes train as one does; what they wrote is continued by one, and the reverse."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from accelerate.state import AcceleratorState, DistributedType, PartialState
from safetensors.torch import load_file
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from needlework import cli
from needlework.models.chat import Renderer
from needlework.models.loading import Precision, load_model, load_tokenizer
from needlework.train import checkpoints, trainer
from needlework.train.held_out import VALUE, HeldOut
from needlework.train.trainer import SharedPrefixTrainer
from tests.train.families import CAN_COMPILE
from tests.train.test_trainer import SETTINGS, changed, haystacks
from tests.train.workers import together

# 7 haystacks in batches of 4: the last batch of an epoch is short, and does not go into two processes.
WHOLE = changed(SETTINGS, batch_size=4, epochs=2, schedule="constant")
HALF = changed(WHOLE, epochs=1)


class Killed(BaseException):
    """Stands for a kill after the last checkpoint of a training, before its model is saved."""


def train(
    model_folder: Path,
    folder: Path,
    *,
    half: bool = False,
    early: bool = False,
    precision: Precision = "fp32",
    **told: Any,
) -> None:
    """Train, only half of it with `half`; with `early` the first of two checks is the best."""
    settings = changed(HALF if half else WHOLE, **told)
    renderer = Renderer(load_tokenizer(str(model_folder)))
    data = haystacks(renderer, size=7)
    # 3 haystacks to hold out do not go into two processes either.
    held_out = HeldOut(data.hold_out(9)[1], steps=2, target=None)

    def kill(*_: object) -> None:
        raise Killed

    def falling(self: SharedPrefixTrainer, held_out: HeldOut) -> dict[str, float]:
        found = check(self, held_out)
        return found | {VALUE: found[VALUE] - self.state.global_step}

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):
        if half:
            patch.setattr(trainer, "_save", kill)
        if early:
            check = SharedPrefixTrainer._check
            patch.setattr(SharedPrefixTrainer, "_check", falling)
        trainer.finetune(
            load_model(str(model_folder)), renderer, data, settings, folder, held_out=held_out, precision=precision
        )


SHARDED: dict[str, dict[str, Any]] = {
    "full": {"trainable": "full", "early": True},
    "lora": {"trainable": "lora"},
    "tied": {"trainable": "full"},
    "compiled": {"trainable": "full", "compile": CAN_COMPILE},
    "bf16": {"trainable": "full", "precision": "bf16", "half": True},
}
"""What is trained by one process and by two that share one model."""


def tie(model_folder: Path, folder: Path) -> None:
    """Write the model with one matrix for embeddings and logits."""
    model = load_model(str(model_folder))
    model.config.tie_word_embeddings = True
    model.tie_weights(recompute_mapping=True)
    model.save_pretrained(folder)
    load_tokenizer(str(model_folder)).save_pretrained(folder)


def publish(model_folder: Path, folder: Path) -> None:
    """Write the model in bf16, as most are published."""
    load_model(str(model_folder), precision="bf16").save_pretrained(folder)
    load_tokenizer(str(model_folder)).save_pretrained(folder)


def shard() -> None:
    """Ask for FSDP2 as `accelerate launch` does. It takes GPUs only: let it take gloo's processes for them."""
    os.environ |= {"ACCELERATE_USE_FSDP": "true", "ACCELERATE_TORCH_DEVICE": "cpu"}
    PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_GPU)
    step = SharedPrefixTrainer.training_step

    def checked(self: SharedPrefixTrainer, model: Any, *arguments: Any) -> torch.Tensor:
        loss = step(self, model, *arguments)
        # Behind each row, also those that do not end a batch.
        gradients = [each.grad for each in model.parameters() if each.requires_grad]
        assert all(isinstance(each, DTensor) and each.dtype == torch.float32 for each in gradients)
        layer = next(each for each in model.modules() if isinstance(each, FSDPModule))
        assert layer._get_fsdp_state()._mp_policy.reduce_dtype in (None, torch.float32)
        return loss

    SharedPrefixTrainer.training_step = checked  # type: ignore[method-assign]


def two_train(model_folder: Path, folder: Path) -> None:
    """Train in each way in turn, which is quicker than to start processes for each."""
    train(model_folder, folder / "one-then-ddp")
    train(model_folder, folder / "ddp-then-one", half=True)
    train(folder / "published", folder / "ddp-held", precision="bf16")
    train(model_folder, folder / "ddp-compiled", compile=CAN_COMPILE)
    shard()
    for name, told in SHARDED.items():
        train(folder / "tied" if name == "tied" else model_folder, folder / f"fsdp-{name}", **told)
    train(model_folder, folder / "fsdp-adapter", trainable="lora", merge=False)
    train(model_folder, folder / "one-then-fsdp")
    train(model_folder, folder / "fsdp-then-one", half=True)
    assert AcceleratorState().is_fsdp2


@pytest.fixture(scope="module")
def trained(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distributed")
    tie(model_folder, folder / "tied")
    publish(model_folder, folder / "published")
    train(model_folder, folder / "one-attention")
    train(folder / "published", folder / "one-held", precision="bf16")
    for name, told in SHARDED.items():
        train(folder / "tied" if name == "tied" else model_folder, folder / f"one-{name}", **told)
    train(model_folder, folder / "one-then-ddp", half=True)
    shutil.copytree(folder / "one-then-ddp", folder / "one-then-fsdp")
    assert together(2, two_train, model_folder, folder) == [0, 0]
    train(model_folder, folder / "ddp-then-one")
    train(model_folder, folder / "fsdp-then-one")
    return folder


def rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


WAYS = {
    "one-then-ddp": "one-attention",
    "ddp-then-one": "one-attention",
    "fsdp-full": "one-full",
    "fsdp-lora": "one-lora",
    "fsdp-tied": "one-tied",
    "fsdp-compiled": "one-compiled",
    "ddp-compiled": "one-attention",
    "fsdp-adapter": "one-lora",
    "one-then-fsdp": "one-attention",
    "fsdp-then-one": "one-attention",
}


@pytest.mark.slow
@pytest.mark.parametrize(("way", "alone"), WAYS.items())
def test_losses_and_weights_are_those_of_one_process(trained: Path, way: str, alone: str) -> None:
    found, expected = rows(trained / way), rows(trained / alone)
    for key in ("step", "answers", "tokens", "held_out_value", "held_out_whole"):
        assert [row.get(key) for row in found] == [row.get(key) for row in expected]
    for key in ("loss", "grad_norm", "answer_accuracy"):
        assert [row[key] for row in found] == pytest.approx([row[key] for row in expected], rel=1e-4)
    weights, alone_weights = (load_model(str(trained / each / "model")).state_dict() for each in (way, alone))
    assert weights.keys() == alone_weights.keys()
    for name, weight in alone_weights.items():
        torch.testing.assert_close(weights[name], weight, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_sharded_bf16_rounds_as_much_as_autocast_does(trained: Path) -> None:
    found, expected = rows(trained / "fsdp-bf16"), rows(trained / "one-bf16")
    assert [row["loss"] for row in found] == pytest.approx([row["loss"] for row in expected], rel=2e-2)
    # A checkpoint holds what is trained, not the copies that are computed with.
    weights = load_file(trained / "fsdp-bf16" / "checkpoints" / "checkpoint-2" / checkpoints.WEIGHTS)
    assert {each.dtype for each in weights.values()} == {torch.float32}


@pytest.mark.slow
def test_two_processes_train_a_model_whose_frozen_matrices_are_bf16(trained: Path) -> None:
    found, expected = rows(trained / "ddp-held"), rows(trained / "one-held")
    # bf16 products round by the number of threads, too.
    assert [row["loss"] for row in found] == pytest.approx([row["loss"] for row in expected], rel=5e-3)
    types = {each.dtype for each in load_file(trained / "ddp-held" / "model" / "model.safetensors").values()}
    assert types == {torch.float32, torch.bfloat16}


@pytest.mark.slow
def test_the_model_of_sharded_processes_is_an_ordinary_folder(trained: Path) -> None:
    model = load_model(str(trained / "fsdp-full" / "model"))
    assert type(model).__name__ == "LlamaForCausalLM"
    assert {path.name for path in (trained / "fsdp-full").iterdir()} == {"metrics.jsonl", "model", "summary.json"}
    names = [{path.name for path in (trained / each / "model").iterdir()} for each in ("fsdp-full", "one-full")]
    assert names[0] == names[1]
    tied = [load_file(trained / each / "model/model.safetensors").keys() for each in ("fsdp-tied", "one-tied")]
    assert tied[0] == tied[1]


def call(folder: Path, *arguments: str) -> None:
    """Call the command, with a file for what this process says."""
    sys.argv = ["needlework", *arguments]
    said = (folder / os.environ["RANK"]).open("w")
    os.dup2(said.fileno(), 1)
    os.dup2(said.fileno(), 2)
    cli.main()


def recipe(model_folder: Path, path: Path) -> str:
    values = {
        "model": {"name": str(model_folder), "precision": "fp32"},
        "data": {"haystacks": 4, "needles": 3, "max_tokens": 900, "items": [2, 6]},
        "train": {"batch_size": 2, "epochs": 1},
    }
    path.write_text(yaml.safe_dump(values))
    return str(path)


@pytest.mark.slow
def test_only_the_first_process_writes_and_speaks(model_folder: Path, tmp_path: Path) -> None:
    arguments = ["finetune", recipe(model_folder, tmp_path / "recipe.yaml"), "--output", str(tmp_path / "run")]
    assert together(2, call, tmp_path, *arguments) == [0, 0]
    first, second = ((tmp_path / str(rank)).read_text() for rank in range(2))
    assert "train: 2/2 loss" in first
    model, following = first.splitlines()[-2:]
    assert model == f"Model: {tmp_path / 'run/train/model'}"
    assert following.startswith("Next: needlework evaluate ")
    assert second == ""
    files = {str(path.relative_to(tmp_path / "run")) for path in (tmp_path / "run").rglob("*")}
    kept = {"metrics.jsonl", "summary.json", "model", "model/config.json", "model/model.safetensors"}
    assert {"recipe.yaml", "environment.json", *(f"train/{name}" for name in kept)} <= files
    assert not [name for name in files if "tmp" in name or "checkpoint" in name]


@pytest.mark.slow
def test_a_mistake_is_told_once(model_folder: Path, tmp_path: Path) -> None:
    arguments = [recipe(model_folder, tmp_path / "recipe.yaml"), "--output", str(tmp_path / "run")]
    assert together(2, call, tmp_path, "finetune", *arguments, "--set", "train.batch_size=3") == [2, 2]
    first, second = ((tmp_path / str(rank)).read_text() for rank in range(2))
    assert first.splitlines()[-1] == (
        "needlework: a batch of 3 haystacks cannot be split over 2 processes. Set train.batch_size to 2 or 4, or "
        "launch a number of processes that divides 3."
    )
    assert second == ""
    assert together(2, call, tmp_path, "run", *arguments) == [2, 2]
    assert "continue with `needlework run` by itself" in (tmp_path / "0").read_text()
