"""What runs on a GPU keeps to one device, shown on torch's meta device, which has shapes and no numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from needlework.inference.hf import HFBackend
from needlework.measures import perplexity
from needlework.models import fused
from needlework.train import trainable
from needlework.train.shared_prefix import Layout, confirm, packed_attention

WINDOW = {"sliding_window": 40, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "gemma2": WINDOW,
    "gemma3_text": WINDOW,
}
MOVES = {"_to_copy", "copy_"}


class OneDevice(TorchDispatchMode):
    """Refuses operations on tensors of several devices, but for what CUDA takes too: numbers, and copies."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [each for each in tree_leaves((args, kwargs or {})) if isinstance(each, torch.Tensor)]
        devices = {each.device.type for each in tensors if each.dim() or each.device.type != "cpu"}
        assert len(devices) < 2 or func.overloadpacket.__name__ in MOVES, f"{func} of {sorted(devices)}"
        return func(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    copies, tolist = fused.copies_keys, torch.Tensor.tolist
    monkeypatch.setattr(fused, "copies_keys", lambda device, dtype, *, masked: copies("cuda", dtype, masked=masked))
    # Tokens that come back from the device: those of the first two slots end their answers.
    tokens = [0, 0, *range(1, 99)]
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: tokens[: len(self)] if self.is_meta else tolist(self))


def make(family: str) -> PreTrainedModel:
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "head_dim": 8, "vocab_size": 96}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0}
    config = AutoConfig.for_model(family, **sizes, **heads, **FAMILIES[family])
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("told", [("full", False), ("lora", True)], ids=["full", "lora, recomputed"])
def test_training_keeps_to_one_device(family: str, told: tuple[trainable.Trainable, bool]) -> None:
    model = trainable.select(make(family), told[0], lora_rank=2).train()
    if told[1]:
        model.activation_checkpointing_enable({"use_reentrant": False})
    layout = Layout(300, (20, 33))
    rows = {"input_ids": torch.zeros(1, 353, dtype=torch.long), "position_ids": layout.positions()[None]}
    inputs = {name: each.to("meta") for name, each in (rows | {"logits_to_keep": torch.arange(315, 350)}).items()}
    with OneDevice(), packed_attention(model):
        model(**inputs, layout=layout, use_cache=False).logits.sum().backward()
        confirm(layout, model)
    assert all(each.grad is not None and each.grad.is_meta for each in model.parameters() if each.requires_grad)


@pytest.mark.parametrize("family", FAMILIES)
def test_answering_and_measuring_keep_to_one_device(family: str) -> None:
    backend = HFBackend.__new__(HFBackend)
    backend.model, backend.share, backend.ends = make(family).eval(), True, {0}
    shared = [7] * 300
    with OneDevice():
        found = backend.generate([[*shared, *[number + 1] * 70] for number in range(6)], max_new_tokens=6, stop=None)
        assert perplexity.losses(backend.model, [5] * 600).is_meta
    assert [len(each) for each in found] == [0, 0, 1, 1, 2, 2]
