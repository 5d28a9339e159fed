"""Which models can share prefixes exactly, and how they are made to.

The attention function is registered with transformers' `AttentionInterface` and *not* with its mask registry, so the
model builds no mask of its own. What a forward attends to travels as a keyword.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from needlework.errors import ModelError
from needlework.inference.attention import Rule
from needlework.inference.tree import Decode, Prefill
from needlework.models.families import FIXED_ROPES, PROVEN, attends_both_ways, rope_types

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

ATTENTION = "needlework_prefix_tree"
"""The name under which the attention function is registered."""


def can_share(config: PreTrainedConfig) -> bool:
    """Return whether a model's answers are the same with shared prefixes.

    Not if its type is not in `PROVEN`, if it attends in both directions, or if its rotary frequencies may change with
    the length of the prompt.
    """
    text = config.get_text_config()
    return config.model_type in PROVEN and rope_types(text) <= FIXED_ROPES and not attends_both_ways(text)


@contextmanager
def sharing(model: PreTrainedModel) -> Iterator[None]:
    """Make the model attend by prefix trees, for a while; its forwards then need a `step`."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, tree_attention)
    usual = model.config._attn_implementation
    model.set_attn_implementation(ATTENTION)
    try:
        yield
    finally:
        model.set_attn_implementation(usual)


def tree_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    step: Prefill | Decode,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend as a step of a prefix tree says.

    Args:
        query: Shape [1, heads, tokens, head_dim]; `key` and `value` have as many or fewer heads.
        attention_mask: None, because no mask function is registered.
        step: What the forward computes, given to the model.
        scaling: Factor of the scores; 1 / sqrt(head_dim) if not given.
        sliding_window: Positions a token of this layer sees, itself included.
        softcap: Bound of the scores, in models that cap them.

    Returns:
        The attention output, shape [1, tokens, heads, head_dim], and no weights.
    """
    if attention_mask is not None or dropout or s_aux is not None:
        raise ModelError("a prefix tree takes no mask, dropout or attention sinks; this model gave it one.")
    rule = Rule(scaling or query.shape[-1] ** -0.5, sliding_window, softcap)
    # Under autocast rotary embeddings leave queries and keys in fp32.
    query, key = query.to(value.dtype), key.to(value.dtype)
    return step.attend(module.layer_idx, query, key, value, rule).transpose(1, 2), None
