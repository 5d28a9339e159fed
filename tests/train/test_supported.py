from __future__ import annotations

from typing import Any

import pytest
import transformers
from transformers import PreTrainedConfig

from needlework.errors import ModelError
from needlework.train.supported import check


@pytest.mark.parametrize(
    ("config", "layers"),
    [
        (transformers.Qwen3NextConfig(), "linear_attention"),
        (transformers.MambaConfig(), "linear_attention"),
        (transformers.FalconH1Config(), "hybrid"),
        (transformers.Lfm2Config(layer_types=["conv", "full_attention"], num_hidden_layers=2), "conv"),
    ],
    ids=lambda each: each.model_type if isinstance(each, PreTrainedConfig) else each,
)
def test_refuses_layers_that_carry_a_state(config: PreTrainedConfig, layers: str) -> None:
    with pytest.raises(ModelError, match=f"{config.model_type}.*their '{layers}' layers carry a state"):
        check(config)


@pytest.mark.parametrize(
    ("config", "reason"),
    [(transformers.GptOssConfig(), "attention sinks"), (transformers.Gemma3Config(), "read images")],
    ids=["gpt_oss", "gemma3"],
)
def test_refuses_for_a_reason_that_the_type_alone_tells(config: PreTrainedConfig, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        check(config)


def test_refuses_an_unknown_type_by_name() -> None:
    with pytest.raises(ModelError, match="not proven exact for 'gpt2' models; it is for gemma2, gemma3_text, llama"):
        check(transformers.GPT2Config())


def test_refuses_a_proven_text_part_in_another_model() -> None:
    with pytest.raises(ModelError, match="'llava'"):
        check(transformers.LlavaConfig(text_config=transformers.LlamaConfig()))


@pytest.mark.parametrize(
    "config",
    [transformers.Gemma3TextConfig(use_bidirectional_attention=True), transformers.LlamaConfig(is_causal=False)],
    ids=["gemma3_text", "llama"],
)
def test_refuses_attention_in_both_directions(config: PreTrainedConfig) -> None:
    with pytest.raises(ModelError, match="both directions"):
        check(config)


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (transformers.LlamaConfig(attention_dropout=0.1), "attention_dropout"),
        (transformers.Phi3Config(resid_pdrop=0.1), "resid_pdrop"),
    ],
    ids=["attention", "residual"],
)
def test_refuses_dropout(config: PreTrainedConfig, name: str) -> None:
    with pytest.raises(ModelError, match=rf"{name} is 0\.1"):
        check(config)


DYNAMIC = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
LONG = {
    "rope_type": "longrope",
    "short_factor": [1.0] * 48,
    "long_factor": [2.0] * 48,
    "rope_theta": 10000.0,
    "original_max_position_embeddings": 4096,
}


@pytest.mark.parametrize(
    ("config_type", "rope", "name"),
    [
        (transformers.LlamaConfig, DYNAMIC, "dynamic"),
        (transformers.Phi3Config, LONG, "longrope"),
        (transformers.Gemma3TextConfig, {"full_attention": DYNAMIC}, "dynamic"),
        (transformers.LlamaConfig, {"rope_type": "proportional", "rope_theta": 1e4}, "proportional"),
    ],
    ids=["llama", "phi3-128k", "gemma3_text", "unknown"],
)
def test_refuses_rope_that_may_depend_on_the_row_length(config_type: Any, rope: dict[str, Any], name: str) -> None:
    with pytest.raises(ModelError, match=f"rope type '{name}' is not known to keep its frequencies"):
        check(config_type(rope_parameters=rope))


@pytest.mark.parametrize("rope_type", ["linear", "yarn", "llama3"])
def test_takes_rope_that_does_not(rope_type: str) -> None:
    rope = {"rope_type": rope_type, "factor": 2.0, "rope_theta": 1e4, "original_max_position_embeddings": 1024}
    check(transformers.LlamaConfig(rope_parameters=rope | {"low_freq_factor": 1.0, "high_freq_factor": 4.0}))
