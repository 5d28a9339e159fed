from __future__ import annotations

import pytest
import torch
import transformers
from transformers import LlamaForCausalLM

from needlework.errors import ModelError
from needlework.inference.sharing import ATTENTION, can_share, sharing, tree_attention
from needlework.models.families import PROVEN
from tests.train.families import MODELS, SIZES


def test_every_type_that_shares_is_tested() -> None:
    assert MODELS.keys() == PROVEN


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_proven_types_share(name: str) -> None:
    assert can_share(MODELS[name]().config)


@pytest.mark.parametrize(
    "config",
    [
        transformers.GPT2Config(),
        transformers.GptOssConfig(),
        transformers.LlamaConfig(**SIZES, rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}),
        transformers.Gemma3TextConfig(**SIZES, use_bidirectional_attention=True),
    ],
    ids=["unknown type", "attention sinks", "changing frequencies", "both directions"],
)
def test_models_for_which_it_is_not_exact_do_not_share(config: transformers.PreTrainedConfig) -> None:
    assert not can_share(config)


def test_a_model_attends_as_before_when_it_is_done(model: LlamaForCausalLM) -> None:
    usual, ids = model.config._attn_implementation, torch.arange(9)[None]
    before = model(ids).logits
    with sharing(model):
        assert model.config._attn_implementation == ATTENTION
    assert model.config._attn_implementation == usual
    assert torch.equal(model(ids).logits, before)


def test_a_mask_is_refused() -> None:
    states = torch.zeros(1, 2, 3, 4)
    with pytest.raises(ModelError, match="takes no mask"):
        tree_attention(object(), states, states, states, torch.ones(1), step=None)  # type: ignore[arg-type]
