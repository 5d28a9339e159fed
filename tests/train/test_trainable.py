from __future__ import annotations

from transformers import LlamaForCausalLM

from needlework.train.trainable import select


def trained(model: object) -> set[str]:
    return {name for name, each in model.named_parameters() if each.requires_grad}  # type: ignore[attr-defined]


def test_attention_trains_the_projections_alone(model: LlamaForCausalLM) -> None:
    names = trained(select(model, "attention"))
    assert {name.split(".")[-2] for name in names} == {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert len(names) == 8


def test_full_trains_everything(model: LlamaForCausalLM) -> None:
    everything = {name for name, _ in model.named_parameters()}
    assert trained(select(model, "full")) == everything


def test_lora_trains_its_own_matrices_without_dropout(model: LlamaForCausalLM) -> None:
    wrapped = select(model, "lora", lora_rank=4)
    assert all("lora_" in name for name in trained(wrapped))
    assert wrapped.peft_config["default"].lora_dropout == 0  # type: ignore[operator,index]
