"""The families of models whose prefixes can be shared, in training and in answering."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

PROVEN = frozenset({"gemma2", "gemma3_text", "llama", "mistral", "olmo2", "olmo3", "phi3", "qwen2", "qwen3"})
"""Model types that tests/train/test_shared_prefix.py proves equal to separate rows, and whose answers
tests/inference/test_hf.py shows to be the same shared and unshared."""

FIXED_ROPES = frozenset({"default", "linear", "llama3", "yarn"})
"""Rope types whose frequencies do not change with the length of a row."""

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "qkv_proj", "o_proj")
"""Names of attention's projections; Phi-3 has the first three in one."""


def rope_types(text: PreTrainedConfig) -> set[str]:
    """Return the rope types of all layers of a text model; those with several kinds of layers nest them by kind."""
    parameters: dict[str, Any] = getattr(text, "rope_parameters", None) or {}
    nested = [each for each in parameters.values() if isinstance(each, dict)]
    return {each.get("rope_type", "default") for each in nested or [parameters]}


def attends_both_ways(text: PreTrainedConfig) -> bool:
    """Return whether a text model's tokens see later ones, as in embedding models."""
    return bool(getattr(text, "use_bidirectional_attention", False)) or not getattr(text, "is_causal", True)
