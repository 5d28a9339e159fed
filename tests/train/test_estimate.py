from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Olmo2Config,
    Olmo2ForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from needlework.models.chat import PackedRow
from needlework.models.loading import load_config
from needlework.train import estimate
from needlework.train.collator import collate
from needlework.train.shared_prefix import Layout, enable
from needlework.train.trainable import Trainable, select
from tests.train.families import MODELS

SIZES: dict[str, Any] = {
    "vocab_size": 100,
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
WAYS: list[Trainable] = ["attention", "full", "lora"]


def row(prefix: int, branches: tuple[int, ...]) -> PackedRow:
    return PackedRow((1,) * prefix, tuple((2,) * each for each in branches), (4,) * len(branches))


def real(kind: type[PreTrainedModel], config: Any, trainable: Trainable) -> PreTrainedModel:
    model = select(kind(config), trainable, lora_rank=8)
    enable(model)
    return model.train()


def forward(model: PreTrainedModel, packed: PackedRow) -> torch.Tensor:
    inputs = collate(packed)
    names = ("input_ids", "position_ids", "layout", "logits_to_keep")
    logits: torch.Tensor = model(**{name: inputs[name] for name in names}, use_cache=False).logits
    return logits


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("trainable", WAYS)
def test_parameters_are_counted_without_their_values(family: str, trainable: Trainable) -> None:
    model = MODELS[family]()
    shaped = estimate.shapes(model.config, trainable, lora_rank=8)
    assert {each.device.type for each in shaped.parameters()} == {"meta"}
    assert estimate.parameters(shaped) == estimate.parameters(select(model, trainable, lora_rank=8))


def test_the_embedded_model_has_the_parameters_that_its_training_notes() -> None:
    shaped = estimate.shapes(load_config("smollm2-135m"), "attention", lora_rank=16)
    assert estimate.parameters(shaped) == (134_515_008, 26_542_080)


@pytest.mark.parametrize("trainable", WAYS)
@pytest.mark.parametrize(("checkpointing", "above"), [(False, 1.06), (True, 1.13)])
def test_operations_are_those_that_torch_counts(trainable: Trainable, checkpointing: bool, above: float) -> None:
    config, packed = LlamaConfig(**SIZES), row(20, (9, 8))
    model = real(LlamaForCausalLM, config, trainable)
    if checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    with FlopCounterMode(display=False) as counter:
        forward(model, packed).sum().backward()
    shaped = estimate.shapes(config, trainable, lora_rank=8)
    expected = estimate.operations(shaped, packed, checkpointing=checkpointing)
    # Not deducted: the first layer needs no gradient of its input, and the last product of none is repeated.
    assert 1 <= expected / counter.get_total_flops() <= above


def test_attention_is_counted_for_the_pairs_that_see_each_other() -> None:
    shaped = estimate.shapes(LlamaConfig(**SIZES), "attention", lora_rank=8)

    def operations(prefix: int, *branches: int) -> int:
        return estimate.operations(shaped, row(prefix, branches), checkpointing=False)

    # A token by itself sees nothing, and is all matrix products; the head's are those of four answer tokens.
    head = 4 * 4 * SIZES["vocab_size"] * SIZES["hidden_size"]
    products = 300 * operations(1) + 70 * (operations(0, 1) - head) + 2 * head
    seen = int(Layout(300, (40, 30)).branch_mask(None, torch.device("cpu")).sum())
    # In the last of four layers no row of the prefix asks.
    pairs = 3 * (300 * 301 // 2) + 4 * seen
    assert operations(300, 40, 30) - products == pytest.approx(14 * 128 * pairs, rel=0.01)


@pytest.mark.parametrize(
    ("kind", "config", "within"),
    [
        (LlamaForCausalLM, LlamaConfig, 0.12),
        (Qwen3ForCausalLM, Qwen3Config, 0.12),
        (MistralForCausalLM, partial(MistralConfig, sliding_window=40), 0.12),
        # They have more norms, of which the estimate knows nothing.
        (Olmo2ForCausalLM, Olmo2Config, 0.14),
        (Gemma3ForCausalLM, partial(Gemma3TextConfig, sliding_window=40), 0.3),
    ],
)
@pytest.mark.parametrize("trainable", WAYS)
def test_activations_are_what_torch_keeps_for_the_backward(
    kind: type[PreTrainedModel], config: Any, within: float, trainable: Trainable
) -> None:
    sizes, packed = config(**SIZES, head_dim=32), row(300, (40, 30))
    model = real(kind, sizes, trainable)
    own = {each.untyped_storage().data_ptr() for each in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = forward(model, packed)
    assert logits.requires_grad
    shaped = estimate.shapes(sizes, trainable, lora_rank=8)
    parts = estimate.memory(shaped, packed, "fp32", checkpointing=False)
    assert parts["activations"] == pytest.approx(sum(kept.values()), rel=within)


def test_memory_is_that_of_weights_gradients_and_moments() -> None:
    shaped = estimate.shapes(LlamaConfig(**SIZES), "attention", lora_rank=8)
    count, trained = estimate.parameters(shaped)
    parts = estimate.memory(shaped, row(300, (40,)), "fp32", checkpointing=False)
    assert [parts[name] for name in ("weights", "gradients", "AdamW")] == [4 * count, 4 * trained, 8 * trained]
    assert "bf16 copies" not in parts
    assert estimate.memory(shaped, row(300, (40,)), "bf16", checkpointing=False)["bf16 copies"] == 2 * count


@pytest.mark.parametrize("tied", [False, True])
def test_frozen_matrices_of_a_model_published_in_bf16_take_two_bytes(tied: bool) -> None:
    config = LlamaConfig(**SIZES, dtype="bfloat16", tie_word_embeddings=tied)
    shaped = estimate.shapes(config, "attention", lora_rank=8)
    frozen = 4 * 3 * 128 * 512 + (0 if tied else 128 * 100)
    count, trained = estimate.parameters(shaped)
    whole, less = (
        estimate.memory(shaped, row(300, (40,)), "bf16", checkpointing=checkpointing) for checkpointing in (False, True)
    )
    assert whole["weights"] == less["weights"] == 4 * count - 2 * frozen
    assert (whole["bf16 copies"], less["bf16 copies"]) == (2 * (count - frozen), 2 * trained)
    assert estimate.memory(shaped, row(300, (40,)), "fp32", checkpointing=False)["weights"] == 4 * count


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_checkpointing_keeps_less(precision: Any) -> None:
    shaped = estimate.shapes(LlamaConfig(**SIZES), "attention", lora_rank=8)
    whole, less = (
        estimate.memory(shaped, row(300, (40,)), precision, checkpointing=checkpointing)["activations"]
        for checkpointing in (False, True)
    )
    assert less < whole / 2


def test_the_rate_is_that_of_a_square_product(monkeypatch: pytest.MonkeyPatch) -> None:
    class Timer:
        def __init__(self, statement: str, globals: dict[str, torch.Tensor], num_threads: int) -> None:
            self.size = eval(statement, globals).shape[0]

        def blocked_autorange(self, min_run_time: float) -> Any:
            return type("Measurement", (), {"median": 2 * self.size**3 / 5e9})

    monkeypatch.setattr("torch.utils.benchmark.Timer", Timer)
    assert estimate.rate("fp32") == pytest.approx(5e9)
