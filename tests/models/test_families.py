from __future__ import annotations

import pytest
import transformers
from transformers import PreTrainedConfig

from needlework.models.families import attends_both_ways, rope_types


def test_rope_types_of_nested_layers_are_found() -> None:
    assert rope_types(transformers.LlamaConfig()) == {"default"}
    nested = {"full_attention": {"rope_type": "linear", "factor": 2.0}, "sliding_attention": {"rope_type": "default"}}
    assert rope_types(transformers.Gemma3TextConfig(rope_parameters=nested)) == {"linear", "default"}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (transformers.LlamaConfig(), False),
        (transformers.LlamaConfig(is_causal=False), True),
        (transformers.Gemma3TextConfig(use_bidirectional_attention=True), True),
    ],
    ids=["llama", "not causal", "embedding gemma"],
)
def test_embedding_models_attend_both_ways(config: PreTrainedConfig, expected: bool) -> None:
    assert attends_both_ways(config) is expected
