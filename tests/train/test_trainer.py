from __future__ import annotations

import json
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM

from needlework.dataset.synthetic import SyntheticDataset
from needlework.errors import UserError
from needlework.models.chat import Renderer
from needlework.models.loading import Precision, load_model, load_tokenizer
from needlework.recipe import Train
from needlework.tasks import make_task
from needlework.train.held_out import HeldOut
from needlework.train.trainable import Trainable
from needlework.train.trainer import finetune
from tests.conftest import make_tokenizer
from tests.train.families import CAN_COMPILE
from tests.train.workers import start

SETTINGS = Train(
    learning_rate=1e-2,
    schedule="cosine",
    warmup_steps=2,
    batch_size=2,
    epochs=2,
    trainable="attention",
    lora_rank=4,
    gradient_checkpointing=False,
    max_grad_norm=1.0,
    checkpoint_steps=2,
)


def changed(train: Train, **values: Any) -> Train:
    return Train(**(train.model_dump() | values))


def haystacks(renderer: Renderer, size: int = 8) -> SyntheticDataset:
    # Haystacks of different length, so that a mean over rows is not the mean over tokens.
    return SyntheticDataset(make_task("simple_dict"), size, 3, 900, renderer, num_items=(2, 9))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_the_loss_is_the_mean_over_all_answer_tokens_of_the_batch(
    model: LlamaForCausalLM, renderer: Renderer, tmp_path: Path
) -> None:
    data = haystacks(renderer)
    total, tokens = 0.0, 0
    with torch.no_grad():
        for index in range(SETTINGS.batch_size):
            for prompt, completion in renderer.rows(data[index]):
                ids = torch.tensor([prompt + completion])
                logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1]
                total += float(cross_entropy(logits, ids[0, len(prompt) :], reduction="sum"))
                tokens += len(completion)
    rows: list[dict[str, float]] = []
    finetune(model, renderer, data, SETTINGS, tmp_path, rows.append)
    assert rows[0]["loss"] == pytest.approx(total / tokens, rel=1e-4)
    assert [row["step"] for row in rows] == list(range(1, 9))
    assert rows[-1]["answers"] == 2 * 8 * 3


@pytest.mark.parametrize("trainable", ["attention", "full", "lora"])
def test_the_trained_model_is_the_saved_one(
    model: LlamaForCausalLM, renderer: Renderer, tmp_path: Path, trainable: Trainable
) -> None:
    settings = changed(SETTINGS, trainable=trainable, epochs=1)
    target = finetune(model, renderer, haystacks(renderer, 2), settings, tmp_path)
    prompt = torch.tensor([renderer.rows(haystacks(renderer)[0])[0][0]])
    with torch.no_grad():
        logits = [each.eval()(input_ids=prompt).logits for each in (model, load_model(str(target)))]
    torch.testing.assert_close(*logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("trainable", ["attention", "full", "lora"])
def test_training_lowers_the_loss_and_saves_an_ordinary_model(
    model_folder: Path, renderer: Renderer, tmp_path: Path, trainable: Trainable
) -> None:
    rows: list[dict[str, float]] = []
    settings = changed(SETTINGS, trainable=trainable)
    target = finetune(load_model(str(model_folder)), renderer, haystacks(renderer), settings, tmp_path, rows.append)
    assert rows[-1]["loss"] < rows[0]["loss"]
    before, after = weights(model_folder), weights(target)
    assert before.keys() == after.keys()
    moved = {name.split(".")[-2] for name in before if not torch.equal(before[name], after[name])}
    assert {"q_proj", "k_proj", "v_proj", "o_proj"} <= moved
    assert ("up_proj" in moved) == (trainable == "full")
    assert load_tokenizer(str(target)).chat_template == renderer.tokenizer.chat_template
    configs = [json.loads((folder / "config.json").read_text()) for folder in (model_folder, target)]
    assert configs[0] == configs[1]


def test_an_adapter_alone_loads_to_the_weights_that_merging_saves(
    model_folder: Path, renderer: Renderer, tmp_path: Path
) -> None:
    loaded = []
    for merge in (True, False):
        settings = changed(SETTINGS, trainable="lora", merge=merge, epochs=1)
        folder = tmp_path / str(merge)
        target = finetune(load_model(str(model_folder)), renderer, haystacks(renderer), settings, folder)
        assert (target / "adapter_config.json").exists() != merge
        assert load_tokenizer(str(target)).chat_template == renderer.tokenizer.chat_template
        loaded.append(load_model(str(target)).state_dict())
    assert all(torch.equal(loaded[0][name], loaded[1][name]) for name in loaded[0])


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_products_are_in_the_precision_asked_for_and_weights_saved_in_fp32(
    model: LlamaForCausalLM, renderer: Renderer, tmp_path: Path, precision: Precision, dtype: torch.dtype
) -> None:
    seen: set[torch.dtype] = set()
    model.model.layers[0].self_attn.q_proj.register_forward_hook(lambda module, args, output: seen.add(output.dtype))
    settings = changed(SETTINGS, epochs=1)
    target = finetune(model, renderer, haystacks(renderer), settings, tmp_path, precision=precision)
    assert seen == {dtype}
    assert {each.dtype for each in weights(target).values()} == {torch.float32}


def test_a_saved_model_stops_where_training_ended_the_turn(model: LlamaForCausalLM, tmp_path: Path) -> None:
    renderer = Renderer(make_tokenizer())
    renderer.tokenizer.eos_token = "<s>"
    model.generation_config.eos_token_id = renderer.tokenizer.eos_token_id
    target = finetune(model, renderer, haystacks(renderer), changed(SETTINGS, epochs=1), tmp_path)
    ends = json.loads((target / "generation_config.json").read_text())["eos_token_id"]
    assert ends == [renderer.tokenizer.eos_token_id, renderer.end]


def test_a_model_with_one_end_keeps_it(model: LlamaForCausalLM, renderer: Renderer, tmp_path: Path) -> None:
    target = finetune(model, renderer, haystacks(renderer), changed(SETTINGS, epochs=1), tmp_path)
    ends = json.loads((target / "generation_config.json").read_text())["eos_token_id"]
    assert ends == model.generation_config.eos_token_id == renderer.end


@pytest.mark.parametrize("trainable", ["attention", "lora"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_matrices_held_in_bf16_change_nothing(
    model: LlamaForCausalLM,
    renderer: Renderer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trainable: Trainable,
    checkpointing: bool,
) -> None:
    model.bfloat16().save_pretrained(tmp_path / "published")
    data, found = haystacks(renderer), []
    told = {"trainable": trainable, "gradient_checkpointing": checkpointing}
    for held in (True, False):
        if not held:
            monkeypatch.setattr("needlework.train.trainer.hold_in_bf16", lambda model: None)
        rows: list[dict[str, float]] = []
        check = HeldOut(data.hold_out(4)[1], steps=4, target=None)
        settings = changed(SETTINGS, **told)
        loaded = load_model(str(tmp_path / "published"))
        folder = tmp_path / str(held)
        target = finetune(loaded, renderer, data, settings, folder, rows.append, check, precision="bf16")
        types = {name.split(".")[-2]: each.dtype for name, each in weights(target).items()}
        assert (types["up_proj"], types["embed_tokens"], types["q_proj"]) == (
            torch.bfloat16 if held else torch.float32,
            torch.float32,
            torch.float32,
        )
        assert json.loads((target / "config.json").read_text())["dtype"] == "float32"
        for row in rows:
            del row["seconds"], row["answers_per_second"]
        found.append((rows, load_model(str(target)).state_dict()))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(found[0][1][name], found[1][1][name]) for name in found[0][1])


def test_the_summary_counts_and_the_checkpoints_are_gone(
    model: LlamaForCausalLM, renderer: Renderer, tmp_path: Path
) -> None:
    finetune(model, renderer, haystacks(renderer), SETTINGS, tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["haystacks"], summary["answers"], summary["steps"]) == (8, 48, 8)
    assert summary["trainable_parameters"] < summary["parameters"]
    assert not (tmp_path / "checkpoints").exists()


def test_a_full_disk_is_foreseen(
    model: LlamaForCausalLM, renderer: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type(shutil.disk_usage(tmp_path))(total=10, used=10, free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match=r"training needs 0\.0 GiB of disk.* 0\.0 GiB free"):
        finetune(model, renderer, haystacks(renderer), SETTINGS, tmp_path)


def test_a_loss_that_is_not_finite_stops_with_its_sample(
    model: LlamaForCausalLM, renderer: Renderer, tmp_path: Path
) -> None:
    settings = changed(SETTINGS, learning_rate=1e30, schedule="constant", warmup_steps=0)
    with pytest.raises(UserError, match="the loss of sample 2 of seed 0 became nan at step 2"):
        finetune(model, renderer, haystacks(renderer), settings, tmp_path)
    assert not (tmp_path / "model").exists()


def train(model_folder: Path, folder: Path, compile: bool) -> None:
    """Train as a command would, in whatever state the folder is."""
    settings = changed(SETTINGS, epochs=3, compile=compile)
    renderer = Renderer(load_tokenizer(str(model_folder)))
    data = haystacks(renderer, size=7)
    held_out = HeldOut(data.hold_out(6)[1], steps=3, target=None)
    finetune(load_model(str(model_folder)), renderer, data, settings, folder, held_out=held_out)


def train_until_killed(model_folder: Path, folder: Path, compile: bool, step: int) -> None:
    """Train in a process of its own, killed without warning when it reaches a step."""
    process, metrics = start(train, model_folder, folder, compile), folder / "metrics.jsonl"
    while process.is_alive() and not (metrics.exists() and metrics.read_text().count("\n") >= step):
        time.sleep(0.002)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def without_times(metrics: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    return [{key: value for key, value in row.items() if "second" not in key} for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("compile", sorted({False, CAN_COMPILE}))
def test_killed_trainings_end_with_the_same_bits(model_folder: Path, tmp_path: Path, compile: bool) -> None:
    """SIGKILL at random steps of three epochs, against a training that nobody disturbed."""
    undisturbed = start(train, model_folder, tmp_path / "undisturbed", compile)
    for step in sorted(random.sample(range(1, 10), 3)):
        train_until_killed(model_folder, tmp_path / "killed", compile, step)
        assert not (tmp_path / "killed" / "model").exists()
    # In a process of its own as well: how many threads this one was told to take would change the last bits.
    start(train, model_folder, tmp_path / "killed", compile).join()
    undisturbed.join()
    expected, found = weights(tmp_path / "undisturbed/model"), weights(tmp_path / "killed/model")
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    rows = without_times(tmp_path / "killed/metrics.jsonl")
    assert rows == without_times(tmp_path / "undisturbed/metrics.jsonl")
    assert [row["step"] for row in rows if "held_out_value" in row] == [3, 6, 9, 12]


def test_a_checkpoint_cut_off_by_a_kill_is_not_used(model_folder: Path, renderer: Renderer, tmp_path: Path) -> None:
    cut = tmp_path / "checkpoints" / "checkpoint-4"
    cut.mkdir(parents=True)
    (cut / "model.safetensors").write_bytes(b"half")
    finetune(load_model(str(model_folder)), renderer, haystacks(renderer), SETTINGS, tmp_path)
    assert (tmp_path / "model" / "model.safetensors").exists()
