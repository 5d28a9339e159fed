from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters
from torch._inductor import config
from torch._inductor.utils import fresh_cache
from torch.nn.functional import cross_entropy
from transformers import AttentionInterface, LlamaForCausalLM

from needlework.errors import UserError
from needlework.models.chat import PackedRow, Renderer
from needlework.models.loading import load_model
from needlework.train.compiled import compiled_layers
from needlework.train.shared_prefix import ATTENTION, packed_attention, shared_prefix_attention
from needlework.train.trainable import Trainable
from needlework.train.trainer import finetune
from tests.train.families import CAN_COMPILE, deviation, losses_and_gradients, packed, packed_logits, tiny
from tests.train.test_trainer import SETTINGS, changed, haystacks

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CAN_COMPILE, reason="torch.compile needs g++ and Python.h")]


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


CASES: list[tuple[str, Trainable, bool]] = [
    ("llama", "full", False),
    ("llama", "attention", True),
    ("qwen3", "lora", True),
    ("gemma2", "full", False),
    ("gemma3_text", "attention", False),
    ("phi3", "full", False),
]


@pytest.mark.parametrize(("name", "trainable", "checkpointing"), CASES)
def test_loss_and_every_gradient_equal_separate_rows(name: str, trainable: Trainable, checkpointing: bool) -> None:
    losses, gradients = losses_and_gradients(name, trainable, checkpointing, compiled_layers)
    assert compiled() >= 2
    assert deviation(*losses) < 1e-6
    assert max(deviation(*pair) for pair in gradients.values()) < 2e-5


@pytest.mark.parametrize("checkpointing", [False, True])
def test_in_bf16_it_is_as_close_as_bf16_allows(checkpointing: bool) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        losses, gradients = losses_and_gradients("llama", "full", checkpointing, compiled_layers)
    assert compiled() >= 2
    assert deviation(*losses) < 0.002
    assert max(deviation(*pair) for pair in gradients.values()) < 0.1


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


def test_the_model_is_left_uncompiled_even_by_an_error() -> None:
    model, row = tiny("llama"), packed()
    with pytest.raises(KeyboardInterrupt), packed_attention(model), compiled_layers(model):
        raise KeyboardInterrupt
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


def failure(compiler: str, model: LlamaForCausalLM, renderer: Renderer, folder: Path) -> str:
    """Return what is said where this compiler is the only one."""
    settings = changed(SETTINGS, compile=True)
    with fresh_cache(), config.patch({"cpp.cxx": (compiler,)}), pytest.raises(UserError) as error:
        finetune(model, renderer, haystacks(renderer), settings, folder)
    return str(error.value)


def test_without_a_compiler_it_says_so(model: LlamaForCausalLM, renderer: Renderer, tmp_path: Path) -> None:
    said = failure("/no/such/compiler", model, renderer, tmp_path)
    assert "No working C++ compiler found" in said
    assert said.endswith("Install one, such as g++. Or set train.compile=false.")


def test_a_failing_compiler_is_quoted_and_no_fault_of_the_output_folder(
    model: LlamaForCausalLM, renderer: Renderer, tmp_path: Path
) -> None:
    failing = tmp_path / "compiler"
    fault = "x.cpp:1: fatal error: No space left on device"
    failing.write_text(f'#!/bin/sh\ncase "$*" in *-o*) echo "{fault}" >&2; exit 1; esac; exec c++ "$@"\n')
    failing.chmod(0o755)
    said = failure(str(failing), model, renderer, tmp_path / "run")
    assert said == f"torch.compile failed: {fault}. Or set train.compile=false."
