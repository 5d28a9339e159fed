from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters
from torch._inductor.utils import fresh_cache
from torch.nn.functional import cross_entropy
from transformers import AttentionInterface, LlamaForCausalLM

from needlework.errors import UserError
from needlework.models.chat import PackedRow, Renderer
from needlework.models.loading import load_model
from needlework.train.compiled import compiled_layers
from needlework.train.shared_prefix import ATTENTION, packed_attention, shared_prefix_attention
from needlework.train.trainer import finetune
from tests.train.families import deviation, packed, packed_logits, separate_loss, tiny
from tests.train.test_trainer import SETTINGS, changed, haystacks

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def nothing_compiled() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    # More variants than allowed would run uncompiled, and pass.
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        yield
    torch._dynamo.reset()


def compiled() -> int:
    """Return how many parts were compiled since the test began."""
    return counters["stats"]["unique_graphs"]


@pytest.mark.parametrize(
    ("name", "checkpointing"), [("llama", False), ("llama", True), ("gemma3_text", False), ("phi3", False)]
)
def test_loss_and_every_gradient_equal_separate_rows(name: str, checkpointing: bool) -> None:
    model, row = tiny(name), packed()
    parameters = dict(model.named_parameters())
    expected = separate_loss(model, row)
    gradients = dict(zip(parameters, torch.autograd.grad(expected, list(parameters.values())), strict=True))
    if checkpointing:
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    with packed_attention(model), compiled_layers(model):
        loss = cross_entropy(*packed_logits(model, row))
        loss.backward()
    assert compiled() >= 3
    assert deviation(loss, expected) < 1e-6
    for key, parameter in parameters.items():
        assert parameter.grad is not None
        assert deviation(parameter.grad, gradients[key]) < 2e-5


def test_rows_of_other_lengths_are_not_compiled_again() -> None:
    model, row = tiny("llama"), packed()
    with packed_attention(model), compiled_layers(model):
        cross_entropy(*packed_logits(model, row)).backward()
        before = compiled()
        for cut in (100, 37):
            other = PackedRow(row.prefix[cut:], row.branches[: 1 + cut // 37], row.answers[: 1 + cut // 37])
            cross_entropy(*packed_logits(model, other)).backward()
    assert before > 0
    assert compiled() == before


def test_the_model_is_left_uncompiled() -> None:
    model, row = tiny("llama"), packed()
    with packed_attention(model), compiled_layers(model):
        pass
    with packed_attention(model):
        packed_logits(model, row)
    assert compiled() == 0
    assert AttentionInterface()[ATTENTION] is shared_prefix_attention


def test_a_compiled_training_is_the_same_one(model_folder: Path, renderer: Renderer, tmp_path: Path) -> None:
    losses: dict[bool, list[float]] = {False: [], True: []}
    counts: set[int] = set()
    for compile, found in losses.items():

        def report(row: dict[str, float], found: list[float] = found) -> None:
            found.append(row["loss"])
            counts.add(compiled())

        settings = changed(SETTINGS, compile=compile)
        finetune(
            load_model(str(model_folder)), renderer, haystacks(renderer), settings, tmp_path / str(compile), report
        )
    assert losses[True] == pytest.approx(losses[False], rel=1e-4)
    # None without, and with it all in the first step, whatever the length of the rows that follow.
    assert len(counts) == 2


def test_without_a_compiler_it_says_so(
    model: LlamaForCausalLM, renderer: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("/no/such/compiler",))
    settings = changed(SETTINGS, compile=True)
    with fresh_cache(), pytest.raises(UserError, match=r"Install a C\+\+ compiler, or set train.compile=false"):
        finetune(model, renderer, haystacks(renderer), settings, tmp_path)
