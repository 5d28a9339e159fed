"""The contract of shared-prefix training: it equals K separate rows."""

from __future__ import annotations

import pytest
import torch
import transformers
from torch.nn.functional import cross_entropy

from needlework.errors import ModelError
from needlework.models.chat import PackedRow
from needlework.train.collator import collate
from needlework.train.shared_prefix import PROVEN, confirm, enable
from needlework.train.trainable import select

SIZES = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
# The prefix of 23 tokens is longer than Mistral's window of 9.
MODELS = {
    "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES)),
    "mistral": lambda: transformers.MistralForCausalLM(
        transformers.MistralConfig(**SIZES, sliding_window=9, head_dim=8)
    ),
    "qwen2": lambda: transformers.Qwen2ForCausalLM(
        transformers.Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=9, max_window_layers=1)
    ),
    "qwen3": lambda: transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**SIZES, head_dim=8)),
}
LENGTHS = ((7, 3), (12, 5), (5, 4))


def tiny(name: str) -> transformers.PreTrainedModel:
    torch.manual_seed(0)
    model = MODELS[name]()
    for parameter in model.parameters():
        # Larger than the usual initialisation, so that attention is far from uniform.
        torch.nn.init.normal_(parameter, std=0.3)
    return model.train()


def packed(seed: int = 0) -> PackedRow:
    generator = torch.Generator().manual_seed(seed)

    def draw(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, 61, (count,), generator=generator).tolist())

    return PackedRow(draw(23), tuple(draw(length) for length, _ in LENGTHS), tuple(each for _, each in LENGTHS))


def separate_loss(model: transformers.PreTrainedModel, row: PackedRow) -> torch.Tensor:
    """The reference: each branch behind its own copy of the prefix, in the untouched model."""
    total, count = torch.zeros(()), 0
    for branch, answer in zip(row.branches, row.answers, strict=True):
        ids = torch.tensor([[*row.prefix, *branch]])
        logits = model(input_ids=ids).logits[0, -answer - 1 : -1]
        total = total + cross_entropy(logits, ids[0, -answer:], reduction="sum")
        count += answer
    return total / count


def packed_logits(model: transformers.PreTrainedModel, row: PackedRow) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = collate([row])
    labels = inputs.pop("labels")
    inputs.pop("shift_labels")
    logits = model(**inputs).logits[0]
    confirm(inputs["layout"], model)
    return logits, labels


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("trainable", ["attention", "full", "lora"])
@pytest.mark.parametrize("name", sorted(PROVEN))
def test_loss_and_every_gradient_equal_separate_rows(name: str, trainable: str, checkpointing: bool) -> None:
    row = packed()
    model = select(tiny(name), trainable)
    for key, parameter in model.named_parameters():
        if "lora_B" in key:  # starts at zero, and would leave no gradient to compare
            torch.nn.init.normal_(parameter, std=0.3)
    expected_loss = separate_loss(model, row)
    expected_loss.backward()
    expected = gradients(model)
    model.zero_grad()

    if checkpointing:
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    enable(model)
    logits, labels = packed_logits(model, row)
    loss = cross_entropy(logits, labels)
    loss.backward()
    found = gradients(model)

    torch.testing.assert_close(loss, expected_loss, rtol=1e-5, atol=1e-6)
    assert found
    assert found.keys() == expected.keys()
    for key, gradient in expected.items():
        torch.testing.assert_close(found[key], gradient, rtol=1e-4, atol=1e-5, msg=lambda text, key=key: key + text)


@pytest.mark.parametrize("name", sorted(PROVEN))
def test_changing_one_branch_leaves_the_others_bit_identical(name: str) -> None:
    row = packed()
    changed = PackedRow(row.prefix, (row.branches[0], packed(1).branches[1], row.branches[2]), row.answers)
    model = tiny(name)
    enable(model)
    before, _ = packed_logits(model, row)
    after, _ = packed_logits(model, changed)
    first, second, _ = row.answers
    assert torch.equal(before[:first], after[:first])
    assert torch.equal(before[first + second :], after[first + second :])
    assert not torch.equal(before[first : first + second], after[first : first + second])


def test_a_single_needle_equals_an_ordinary_row() -> None:
    row = packed()
    single = PackedRow(row.prefix, row.branches[:1], row.answers[:1])
    model = tiny("llama")
    expected = separate_loss(model, single)
    enable(model)
    torch.testing.assert_close(cross_entropy(*packed_logits(model, single)), expected, rtol=1e-5, atol=1e-6)


def test_refuses_models_that_are_not_proven() -> None:
    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=61, n_embd=16, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=2)
    )
    with pytest.raises(ModelError, match="not proven exact for 'gpt2'"):
        enable(model)


def test_refuses_attention_dropout() -> None:
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES, attention_dropout=0.1))
    with pytest.raises(ModelError, match=r"attention_dropout is 0\.1"):
        enable(model)


def test_refuses_rope_that_depends_on_the_row_length() -> None:
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES, rope_parameters=rope))
    with pytest.raises(ModelError, match="'dynamic'"):
        enable(model)


def test_notices_a_layer_that_did_not_use_ours() -> None:
    model = tiny("llama")
    inputs = collate([packed()])
    with pytest.raises(ModelError, match=r"layers \[0, 1, 2\]"):
        confirm(inputs["layout"], model)
