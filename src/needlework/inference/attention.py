"""Attention in parts: each over some of the keys, with the log-sum-exp (`lse`) by which parts are merged exactly.

A softmax over all keys is the softmaxes over parts of them, weighted by the parts' sums of exponentials, as in ring
attention (arXiv 2310.01889, section 3). So keys that many prompts share are read once for all of them, and never copied
(Hydragen, arXiv 2402.05099).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch

SCORES = 1 << 24
"""Scores held at once, where they are held at all."""

NOWHERE = 1 << 60
"""The position of padding, which nobody sees."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How a layer scores.

    scale:   factor of the scores
    window:  positions that a query sees, itself included; None for all before it
    softcap: bound of the scores, `softcap * tanh(scores / softcap)`, as in Gemma 2 (arXiv 2408.00118, section 2)
    """

    scale: float
    window: int | None = None
    softcap: float | None = None


class Places:
    """Positions of tokens, [B, N] or [1, N], on the CPU: their bounds are known without waiting for a GPU."""

    def __init__(self, at: torch.Tensor) -> None:
        self.at = at
        self.low, self.high = int(at.min()), int(at.max())

    def cut(self, keys: Places, window: int | None) -> bool:
        """Return whether a window may hide some of the keys from these queries."""
        return window is not None and self.high - keys.low >= window

    def seen(self, keys: Places, window: int | None, device: torch.device) -> torch.Tensor:
        """Return which keys each query sees, shape [B, 1, N, K]."""
        # Positions travel to the device, not what is made of each pair of them.
        ours, theirs = (each.at.to(device, non_blocking=True) for each in (self, keys))
        distance = ours[:, :, None] - theirs[:, None]
        return ((distance >= 0) & (distance < (window or NOWHERE)))[:, None]


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rule: Rule, queries: Places, keys: Places
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attend over some keys.

    Args:
        query: Shape [B, heads, N, head_dim]; `key` and `value` have as many or fewer heads, and K tokens.
        rule: The layer's.
        queries: Positions of the queries; which keys they see follows from the two.
        keys: Positions of the keys; the same object where the tokens are the same.

    Returns:
        The output, [B, heads, N, head_dim], and the logarithms of the sums of exponentials, [B, heads, N].
    """
    if rule.softcap is None and query.device.type == "cpu" and not queries.cut(keys, rule.window):
        mask, causal = None, queries is keys
        if not causal and queries.low < keys.high:
            seen = queries.seen(keys, None, query.device)
            mask = torch.zeros(seen.shape, dtype=query.dtype).masked_fill(~seen, -torch.inf)
        flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        output, lse = flash(query, key, value, 0.0, causal, attn_mask=mask, scale=rule.scale)
        return output, lse
    if rule.softcap is None and not queries.cut(keys, rule.window) and query.device.type == "cuda":
        all_seen = queries is keys or queries.low >= keys.high
        if all_seen and gives_lse(query.device, query.dtype, query.shape[1], key.shape[1], query.shape[3]):
            return _flash(query, key, value, rule.scale, causal=queries is keys)
    rows = max(1, SCORES // (query.shape[0] * query.shape[1] * key.shape[2]))
    parts = []
    for start in range(0, query.shape[2], rows):
        piece = slice(start, start + rows)
        parts.append(_products(query[:, :, piece], key, value, rule, Places(queries.at[:, piece]), keys))
    outputs, pieces = zip(*parts, strict=True)
    return torch.cat(outputs, dim=2), torch.cat(pieces, dim=2)


def _flash(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, *, causal: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attend by a GPU's fused kernel, under its own name: the public function returns no lse."""
    flash = torch.ops.aten._scaled_dot_product_flash_attention
    output, lse, *_ = flash(query, key, value, 0.0, causal, False, scale=scale)
    return output, lse


@functools.cache
def gives_lse(device: torch.device, dtype: torch.dtype, heads: int, key_heads: int, width: int) -> bool:
    """Return whether a GPU has a kernel for these heads that agrees with plain products, tried on a few tokens.

    Cards before Ampere have none, nor has fp32; and it shall rather be slow than wrong where a release of PyTorch
    changes what is not public.
    """
    if dtype != torch.bfloat16:
        return False
    generator, rule = torch.Generator().manual_seed(0), Rule(width**-0.5)
    shapes = ((heads, 70), (key_heads, 70), (key_heads, 70))
    query, key, value = (torch.randn(2, *each, width, generator=generator).to(device, dtype) for each in shapes)
    places = Places(torch.arange(70)[None])
    for rows, causal in ((slice(0, 70), True), (slice(69, 70), False), (slice(50, 70), False)):
        ours = places if causal else Places(torch.full((1, rows.stop - rows.start), 70))
        expected = _products(query[:, :, rows], key, value, rule, ours, places)
        try:
            found = _flash(query[:, :, rows], key, value, rule.scale, causal=causal)
        except RuntimeError:
            return False
        if not all(torch.allclose(a.float(), b.float(), atol=0.03) for a, b in zip(found, expected, strict=True)):
            return False
    return True


def _products(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rule: Rule, queries: Places, keys: Places
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attend by plain matrix products, which can cap scores and hide keys."""
    # Heads that share keys are folded into rows: no copies of keys.
    scores = (query.reshape(*key.shape[:2], -1, query.shape[3]) @ key.transpose(2, 3)).float() * rule.scale
    if rule.softcap is not None:
        scores = rule.softcap * (scores / rule.softcap).tanh()
    if queries.low < keys.high or queries.cut(keys, rule.window):
        seen = queries.seen(keys, rule.window, query.device)[:, :, None]
        scores = scores.unflatten(2, (-1, query.shape[2])).masked_fill(~seen, -torch.inf).flatten(2, 3)
    # The lowest number in place of minus infinity: a query that sees none of the keys gets zeros.
    lse = scores.logsumexp(-1).clamp(min=torch.finfo(torch.float32).min)
    weights = (scores - lse[..., None]).exp().to(value.dtype)
    return (weights @ value).reshape(query.shape), lse.reshape(query.shape[:3])


def merge(output: torch.Tensor, lse: torch.Tensor, more: torch.Tensor, more_lse: torch.Tensor) -> None:
    """Merge the attention over more keys into that over some, in place.

    Args:
        output: Over some keys, shape [B, heads, N, head_dim], as `more`.
        lse: Logarithms of its sums of exponentials, shape [B, heads, N], as `more_lse`.
        more: The output over the others.
        more_lse: Its own.
    """
    both = torch.logaddexp(lse, more_lse)
    merged = output * (lse - both).exp()[..., None] + more * (more_lse - both).exp()[..., None]
    output.copy_(merged)
    lse.copy_(both)
