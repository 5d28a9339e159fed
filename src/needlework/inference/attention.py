"""Attention in parts: each over some of the keys, with the log-sum-exp (`lse`) by which parts are merged exactly.

A softmax over all keys is the softmaxes over parts of them, weighted by the parts' sums of exponentials, as in ring
attention (arXiv 2310.01889, section 3). So keys that many prompts share are read once for all of them, and never copied
(Hydragen, arXiv 2402.05099).
"""

from __future__ import annotations

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
    rows = max(1, SCORES // (query.shape[0] * query.shape[1] * key.shape[2]))
    parts = []
    for start in range(0, query.shape[2], rows):
        piece = slice(start, start + rows)
        parts.append(_products(query[:, :, piece], key, value, rule, Places(queries.at[:, piece]), keys))
    outputs, pieces = zip(*parts, strict=True)
    return torch.cat(outputs, dim=2), torch.cat(pieces, dim=2)


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
