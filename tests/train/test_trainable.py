from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import AutoPeftModel, AutoPeftModelForCausalLM
from transformers import LlamaForCausalLM

from needlework.models.families import PROVEN
from needlework.models.loading import load_model
from needlework.train.trainable import hold_in_bf16, save_adapter, select
from tests.train.families import tiny


def trained(model: object) -> set[str]:
    return {name for name, each in model.named_parameters() if each.requires_grad}  # type: ignore[attr-defined]


def test_attention_trains_the_projections_alone(model: LlamaForCausalLM) -> None:
    names = trained(select(model, "attention"))
    assert {name.split(".")[-2] for name in names} == {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert len(names) == 8


@pytest.mark.parametrize("name", sorted(PROVEN))
def test_attention_is_found_in_every_layer_of_every_family(name: str) -> None:
    names = trained(select(tiny(name), "attention"))
    inputs = {"qkv_proj"} if name == "phi3" else {"q_proj", "k_proj", "v_proj"}
    expected = {f"model.layers.{layer}.self_attn.{part}" for layer in range(3) for part in inputs | {"o_proj"}}
    assert {each.rsplit(".", 1)[0] for each in names} == expected


@pytest.mark.parametrize("name", sorted(PROVEN))
def test_lora_adapts_the_same_projections_in_every_family(name: str) -> None:
    attention = {each.rsplit(".", 1)[0] for each in trained(select(tiny(name), "attention"))}
    lora = {each.split(".lora_")[0].removeprefix("base_model.model.") for each in trained(select(tiny(name), "lora"))}
    assert lora == attention


def test_full_trains_everything(model: LlamaForCausalLM) -> None:
    everything = {name for name, _ in model.named_parameters()}
    assert trained(select(model, "full")) == everything


def test_lora_trains_its_own_matrices_without_dropout(model: LlamaForCausalLM) -> None:
    wrapped = select(model, "lora", lora_rank=4)
    assert all("lora_" in name for name in trained(wrapped))
    assert wrapped.peft_config["default"].lora_dropout == 0  # type: ignore[operator,index]


@pytest.mark.parametrize("tied", [False, True])
def test_frozen_matrices_of_bf16_numbers_are_held_in_bf16(model: LlamaForCausalLM, tied: bool) -> None:
    model.to(torch.bfloat16).to(torch.float32)
    if tied:
        model.lm_head.weight = model.model.embed_tokens.weight
    before = {name: each.clone() for name, each in model.named_parameters()}
    with torch.no_grad():
        before["model.layers.1.mlp.up_proj.weight"] += 2**-20
        model.model.layers[1].mlp.up_proj.weight += 2**-20
    hold_in_bf16(select(model, "attention"))
    after = dict(model.named_parameters())
    halved = {name for name, each in after.items() if each.dtype == torch.bfloat16}
    inner = {f"model.layers.{layer}.mlp.{part}_proj.weight" for layer in (0, 1) for part in ("gate", "up", "down")}
    assert halved == inner - {"model.layers.1.mlp.up_proj.weight"} | (set() if tied else {"lm_head.weight"})
    assert all(torch.equal(before[name], after[name].float()) for name in before)


def test_an_adapter_is_a_folder_that_peft_reads(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model_folder.parent)
    model = select(load_model("./" + model_folder.name), "lora", lora_rank=4)
    save_adapter(model, tmp_path, None)
    assert {path.name for path in tmp_path.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    # From anywhere else, too.
    monkeypatch.chdir(tmp_path)
    for kind in (AutoPeftModel, AutoPeftModelForCausalLM):
        assert trained(kind.from_pretrained(str(tmp_path), is_trainable=True)) == trained(model)
