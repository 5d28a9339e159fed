"""PyTorch's fused attention, called in a way that a GPU has a fused kernel for."""

from __future__ import annotations

import torch
from torch.nn.functional import scaled_dot_product_attention


def fused_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, scale: float, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Attend causally, or as a mask says.

    Args:
        query: Shape [B, heads, N, head_dim]; `key` and `value` have as many or fewer heads.
        scale: Factor of the scores.
        mask: Which keys each query sees, or what is added to the scores; without it, keys up to its own place are seen.

    Returns:
        The output, of the query's shape.
    """
    query, key, value = share(query, key, value, masked=mask is not None)
    return scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        is_causal=mask is None,
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def share(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, masked: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the three with a copy of keys and values for each head where `copies_keys` asks for it."""
    groups = query.shape[1] // key.shape[1]
    if groups > 1 and copies_keys(query.device.type, query.dtype, masked=masked):
        key, value = (each.repeat_interleave(groups, dim=1) for each in (key, value))
    return query, key, value


def copies_keys(device: str, dtype: torch.dtype, *, masked: bool) -> bool:
    """Return whether keys that heads share are copied for each of them.

    CUDA's one kernel that shares keys, flash attention, takes neither masks nor fp32. Without copies such a call would
    be computed in separate steps with all scores in memory (transformers decides so in `sdpa_attention`).
    """
    return device == "cuda" and (masked or dtype == torch.float32)
