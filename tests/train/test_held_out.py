from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from needlework.benchmarks import kv
from needlework.dataset.synthetic import SyntheticDataset
from needlework.haystack import Haystack, Needle
from needlework.inference.backend import Ask
from needlework.inference.hf import HFBackend
from needlework.models.chat import Renderer
from needlework.models.loading import load_model, load_tokenizer
from needlework.tasks import make_task
from needlework.train.checkpoints import mark_complete
from needlework.train.collator import collate
from needlework.train.held_out import VALUE, HeldOut, KeepBest, judge, prepare, value_tokens
from needlework.train.shared_prefix import enable
from needlework.train.trainer import finetune
from tests.conftest import make_model
from tests.train.test_trainer import SETTINGS, changed, haystacks, weights


def logits_of(model: LlamaForCausalLM) -> Any:
    keys = ("input_ids", "position_ids", "layout", "logits_to_keep")
    return lambda inputs: model(**{key: inputs[key] for key in keys}).logits[0]


@pytest.fixture(scope="module")
def half_taught(tokenizer: PreTrainedTokenizerFast) -> tuple[LlamaForCausalLM, list[Haystack]]:
    """A model that has learnt a few haystacks by heart, but not well, and those haystacks."""
    renderer, model = Renderer(tokenizer), make_model(len(tokenizer))
    data = SyntheticDataset(make_task("simple_dict"), 6, 2, 900, renderer, num_items=(2, 2))
    samples = [data[index] for index in range(len(data))]
    inputs = [collate(renderer.pack(sample)) for sample in samples]
    enable(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        loss = sum(cross_entropy(logits_of(model)(each), each["labels"]) for each in inputs)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval(), samples


def misnamed(sample: Haystack) -> Haystack:
    """Name another dictionary in each true answer."""
    needles = [replace(each, answer=re.sub(r"\[.*\]", "[3]", each.answer)) for each in sample.needles]
    return replace(sample, needles=tuple(needles))


@torch.no_grad()
def test_one_forward_judges_as_greedy_answers_do(
    half_taught: tuple[LlamaForCausalLM, list[Haystack]], renderer: Renderer
) -> None:
    model, samples = half_taught
    samples = [*samples, *map(misnamed, samples)]
    judged = [each for sample in samples for each in judge(*prepare(sample, renderer), logits_of(model))]
    plain = copy.deepcopy(model)
    plain.set_attn_implementation("sdpa")
    asks = [Ask(sample, needle) for sample in samples for needle in sample.needles]
    greedy = HFBackend(plain, renderer).answer(asks, max_new_tokens=40, stop=None)
    for (value, whole), ask, answer in zip(judged, asks, greedy, strict=True):
        beginning, _ = ask.needle.answer.split(" it is in")
        assert value == answer.output.startswith(beginning)
        assert whole == (answer.output == ask.needle.answer)
        assert value <= kv.score(ask.needle, answer.output)["value"]
    # Otherwise the comparison would show nothing.
    assert {(True, True), (True, False), (False, False)} == set(judged)


def test_processes_count_each_needle_once(
    half_taught: tuple[LlamaForCausalLM, list[Haystack]], renderer: Renderer
) -> None:
    model, samples = half_taught
    held_out = HeldOut(samples[:5], steps=1, target=None)
    alone = held_out.count(logits_of(model), renderer)
    shares = [held_out.count(logits_of(model), renderer, rank, 3) for rank in range(3)]
    assert alone[0] == 10
    assert sum(shares).tolist() == alone.tolist()


@pytest.mark.parametrize(
    ("answer", "accepted", "beginning"),
    [
        ("The value of key 9318 is 931 and it is in Dictionary [2].", ("931",), "The value of key 9318 is 931 and"),
        ("The value of key 931 is 931 and it is in Dictionary [2].", ("931",), "The value of key 931 is 931 and"),
        ("The value of key 5 is 931", ("931",), "The value of key 5 is 931<|im_end|>"),
        ("It is in 12, then in 7.", ("7", "12"), "It is in 12,"),
        ("I cannot say.", ("931",), "I cannot say.<|im_end|>"),
    ],
)
def test_a_value_is_found_once_it_and_what_ends_it_are_right(
    renderer: Renderer, answer: str, accepted: tuple[str, ...], beginning: str
) -> None:
    (ids,) = renderer.encode([answer + "<|im_end|>"])
    needle = Needle("0", "0", "What?", answer, accepted, 0)
    assert renderer.tokenizer.decode(ids[: value_tokens(needle, ids, renderer.tokenizer)]) == beginning


def test_the_best_checkpoint_is_kept_of_equals_the_latest() -> None:
    state = SimpleNamespace(best_metric=None, best_global_step=None, global_step=0)
    saved = []
    for state.global_step, accuracy in enumerate([0.0, 0.5, 0.4, 0.5, 0.3], start=1):
        control = SimpleNamespace(should_save=False, should_training_stop=False)
        KeepBest(HeldOut([], steps=1, target=0.6)).on_log(None, state, control, {VALUE: accuracy})
        saved.append(control.should_save)
        assert not control.should_training_stop
    assert saved == [True, True, False, True, False]
    assert (state.best_metric, state.best_global_step) == (0.5, 4)


@pytest.mark.parametrize(("target", "stops"), [(0.6, True), (0.61, False), (None, False)])
def test_the_training_stops_where_the_target_is_met(target: float | None, stops: bool) -> None:
    state = SimpleNamespace(best_metric=None, best_global_step=None, global_step=3)
    control = SimpleNamespace(should_save=False, should_training_stop=False)
    KeepBest(HeldOut([], steps=1, target=target)).on_log(None, state, control, {VALUE: 0.6})
    assert control.should_training_stop == stops


def test_checks_come_at_their_steps_and_at_the_end() -> None:
    held_out = HeldOut([], steps=3, target=None)
    assert [step for step in range(1, 9) if held_out.is_due(step, 8)] == [3, 6, 8]


class Scripted(HeldOut):
    """A check that finds as many values of ten as it was told, in turn."""

    def __init__(self, *found: int, steps: int = 2, target: float | None = None) -> None:
        super().__init__([], steps=steps, target=target)
        self.found = list(found)

    def count(self, *_: object) -> torch.Tensor:
        return torch.tensor([10, self.found.pop(0), 0])


def test_a_check_changes_nothing_in_the_training(model_folder: Path, renderer: Renderer, tmp_path: Path) -> None:
    data, rows, saved = haystacks(renderer), [], []
    for held_out in (None, HeldOut(data.hold_out(4)[1], steps=1, target=None)):
        seen: list[dict[str, float]] = []
        folder = tmp_path / str(len(rows))
        saved.append(
            weights(finetune(load_model(str(model_folder)), renderer, data, SETTINGS, folder, seen.append, held_out))
        )
        rows.append([(row["loss"], row["grad_norm"]) for row in seen])
    assert rows[0] == rows[1]
    assert all(torch.equal(saved[0][name], saved[1][name]) for name in saved[0])


@pytest.fixture(scope="module")
def after_four_steps(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    renderer = Renderer(load_tokenizer(str(model_folder)))
    settings = changed(SETTINGS, epochs=1, schedule="constant")
    folder = tmp_path_factory.mktemp("four-steps")
    return weights(finetune(load_model(str(model_folder)), renderer, haystacks(renderer), settings, folder))


@pytest.fixture
def train_checked(model_folder: Path, renderer: Renderer, tmp_path: Path) -> Callable[..., dict[str, torch.Tensor]]:
    """Train in the test's folder with a scripted check, and return the weights that are saved."""

    def train(*found: int, target: float | None = None) -> dict[str, torch.Tensor]:
        settings, check = changed(SETTINGS, schedule="constant"), Scripted(*found, target=target)
        model, data = load_model(str(model_folder)), haystacks(renderer)
        return weights(finetune(model, renderer, data, settings, tmp_path, held_out=check))

    return train


def test_the_model_that_found_most_is_saved(
    train_checked: Any, tmp_path: Path, after_four_steps: dict[str, torch.Tensor]
) -> None:
    found = train_checked(3, 7, 5, 6)
    assert all(torch.equal(found[name], after_four_steps[name]) for name in found)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["steps"], summary["best_step"], summary["held_out_value"]) == (8, 4, 0.7)


def test_the_best_is_there_where_a_kill_cut_a_better_one_off(
    train_checked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(checkpoint: Path) -> None:
        if checkpoint.name == "checkpoint-8":
            raise KeyboardInterrupt
        mark_complete(checkpoint)

    with monkeypatch.context() as patched:
        patched.setattr("needlework.train.metrics.mark_complete", kill)
        with pytest.raises(KeyboardInterrupt):
            train_checked(5, 3, 3, 6)
    # Asked again, by another number of processes, the model may find a needle less.
    train_checked(4)
    assert json.loads((tmp_path / "summary.json").read_text())["best_step"] == 2


def test_a_solved_training_stops_even_if_it_is_killed_while_it_saves(
    train_checked: Any, tmp_path: Path, after_four_steps: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("needlework.train.trainer._save", kill)
        with pytest.raises(KeyboardInterrupt):
            train_checked(3, 9, target=0.9)
    found = train_checked(target=0.9)
    assert all(torch.equal(found[name], after_four_steps[name]) for name in found)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row.get("held_out_value") for row in rows] == [None, 0.3, None, 0.9]
