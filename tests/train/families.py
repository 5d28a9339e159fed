"""Tiny models of every proven family, and how far a packed row is from K separate rows.

    python -m tests.train.families

prints the largest deviations of loss and gradients as a Markdown table.
"""

from __future__ import annotations

import shutil
import sysconfig
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.nn.functional import cross_entropy

from needlework.models.chat import PackedRow
from needlework.train.collator import collate
from needlework.train.shared_prefix import confirm, enable
from needlework.train.trainable import Trainable, select

SIZES: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
PREFIX = 300
"""Longer than the window, and than the pieces in which capped attention is computed."""
WINDOW: dict[str, Any] = {"sliding_window": 9}
HYBRID = WINDOW | {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
# A scale that is not the usual 1 / sqrt(head_dim), and caps low enough to bend most scores.
GEMMA = HYBRID | {"head_dim": 8, "query_pre_attn_scalar": 24}
CAPS = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 5.0}
TWO_ROPES = {
    "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1000.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128, "rope_theta": 1000.0}

MODELS: dict[str, Callable[[], transformers.PreTrainedModel]] = {
    "gemma2": lambda: transformers.Gemma2ForCausalLM(transformers.Gemma2Config(**SIZES, **GEMMA, **CAPS)),
    "gemma3_text": lambda: transformers.Gemma3ForCausalLM(
        transformers.Gemma3TextConfig(**SIZES, **GEMMA, rope_parameters=TWO_ROPES)
    ),
    "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES)),
    "mistral": lambda: transformers.MistralForCausalLM(transformers.MistralConfig(**SIZES, **WINDOW, head_dim=8)),
    "olmo2": lambda: transformers.Olmo2ForCausalLM(transformers.Olmo2Config(**SIZES)),
    "olmo3": lambda: transformers.Olmo3ForCausalLM(
        transformers.Olmo3Config(
            **SIZES, **HYBRID, rope_parameters={"full_attention": YARN, "sliding_attention": {"rope_type": "default"}}
        )
    ),
    "phi3": lambda: transformers.Phi3ForCausalLM(transformers.Phi3Config(**SIZES, **WINDOW)),
    "qwen2": lambda: transformers.Qwen2ForCausalLM(
        transformers.Qwen2Config(**SIZES, **WINDOW, use_sliding_window=True, max_window_layers=1)
    ),
    "qwen3": lambda: transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**SIZES, head_dim=8)),
}
LENGTHS = ((7, 3), (12, 5), (5, 4))
"""Tokens of each branch, and how many of them are its answer."""


CAN_COMPILE = bool(shutil.which("g++")) and (Path(sysconfig.get_path("include")) / "Python.h").exists()
"""Whether torch.compile has what it needs here, which a machine for anything else may lack."""


def tiny(name: str) -> transformers.PreTrainedModel:
    """Make a model of three layers with random weights, larger than usual: attention is far from uniform."""
    torch.manual_seed(0)
    model = MODELS[name]()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.train()


def packed(seed: int = 0) -> PackedRow:
    """Draw a row of random tokens."""
    generator = torch.Generator().manual_seed(seed)

    def draw(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, 61, (count,), generator=generator).tolist())

    return PackedRow(draw(PREFIX), tuple(draw(length) for length, _ in LENGTHS), tuple(each for _, each in LENGTHS))


def separate_loss(model: transformers.PreTrainedModel, row: PackedRow) -> torch.Tensor:
    """Return the reference: each branch behind its own copy of the prefix, in the untouched model."""
    total, count = torch.zeros(()), 0
    for branch, answer in zip(row.branches, row.answers, strict=True):
        ids = torch.tensor([[*row.prefix, *branch]])
        logits = model(input_ids=ids, use_cache=False).logits[0, -answer - 1 : -1]
        total = total + cross_entropy(logits, ids[0, -answer:], reduction="sum")
        count += answer
    return total / count


def packed_logits(model: torch.nn.Module, row: PackedRow) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits of one packed row at its answer tokens, and those tokens."""
    inputs = collate(row)
    labels = inputs.pop("labels")
    inputs.pop("shift_labels")
    logits = model(**inputs, use_cache=False).logits[0]
    confirm(inputs["layout"], getattr(model, "module", model))
    return logits, labels


def losses_and_gradients(
    name: str,
    trainable: Trainable,
    checkpointing: bool,
    packing: Callable[[Any], AbstractContextManager[None]] = nullcontext,
) -> tuple[tuple[torch.Tensor, torch.Tensor], dict[str, tuple[torch.Tensor, torch.Tensor]]]:
    """Return the loss, and the gradient of every trainable parameter, of a packed row and of separate rows; the former
    within a context of the model.
    """
    row = packed()
    model = select(tiny(name), trainable)
    trained = {key: each for key, each in model.named_parameters() if each.requires_grad}
    for key, parameter in trained.items():
        if "lora_B" in key:  # starts at zero, and would leave no gradient to compare
            torch.nn.init.normal_(parameter, std=0.3)
    expected = separate_loss(model, row)
    expected_gradients = torch.autograd.grad(expected, list(trained.values()))

    if checkpointing:
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    enable(model)
    with packing(model):
        loss = cross_entropy(*packed_logits(model, row))
        loss.backward()
    found = [each.grad for each in trained.values()]
    assert all(each is not None for each in found)
    return (loss.detach(), expected.detach()), dict(
        zip(trained, zip(found, expected_gradients, strict=True), strict=True)  # type: ignore[arg-type]
    )


def deviation(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest difference, relative to the largest value."""
    return float((found - expected).abs().max() / expected.abs().max())


def main() -> None:
    """Print the table."""
    kinds: tuple[Trainable, ...] = ("full", "attention", "lora")
    print("| model type | loss | " + " | ".join(f"gradients, {kind}" for kind in kinds) + " |")
    print("|---|" + "---|" * (1 + len(kinds)))
    for name in sorted(MODELS):
        loss, cells = 0.0, []
        for kind in kinds:
            worst = 0.0
            for checkpointing in (False, True):
                losses, gradients = losses_and_gradients(name, kind, checkpointing)
                loss = max(loss, deviation(*losses))
                worst = max(worst, *(deviation(*pair) for pair in gradients.values()))
            cells.append(f"{worst:.1e}")
        print(f"| `{name}` | {loss:.1e} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
