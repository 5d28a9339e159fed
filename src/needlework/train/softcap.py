"""Attention whose scores are capped, `softcap * tanh(scores / softcap)`, as in Gemma 2 (arXiv 2408.00118, section 2).

`scaled_dot_product_attention` cannot cap. Here some rows at a time attend by plain matrix products, which the backward
computes again, so at most [heads, ROWS, P + s] scores are held where [heads, P + S, P + S] would not fit. Each piece
of rows multiplies with the keys it can see and no others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from needlework.train.shared_prefix import Layout

ROWS = 256
"""Rows of one piece. Fewer make slow matrix products, more need memory and gain nothing."""


def softcapped_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    layout: Layout,
    *,
    window: int | None,
    scale: float,
    softcap: float,
    skip_prefix: bool = False,
) -> torch.Tensor:
    """Attend over one packed row with capped scores.

    Args:
        query: Shape [1, heads, P + S, head_dim]; `key` and `value` have as many or fewer heads.
        layout: The row's layout.
        window: Positions a row sees, itself included; None for all before it.
        scale: Factor of the scores before they are capped.
        softcap: The bound of the scores.
        skip_prefix: Leave the output of the prefix rows at zero.

    Returns:
        The attention output, shape [1, heads, P + S, head_dim].
    """
    positions = layout.positions().to(query.device)
    pieces = []
    for rows, spans in _pieces(layout, window):
        if skip_prefix and rows.start < layout.prefix:
            pieces.append(torch.zeros_like(query[:, :, rows], dtype=value.dtype))
            continue
        of_piece = query, key, value, positions, rows, spans, window, scale, softcap
        pieces.append(checkpoint(_attend, *of_piece, use_reentrant=False, preserve_rng_state=False))
    return torch.cat(pieces, dim=2)


def _pieces(layout: Layout, window: int | None) -> Iterator[tuple[slice, list[slice]]]:
    """Yield rows of the prefix or of one branch, and where the keys that they may see lie."""
    begin = 0
    for length in (layout.prefix, *layout.branches):
        before = layout.prefix if begin else 0
        for start in range(begin, begin + length, ROWS):
            rows = slice(start, min(start + ROWS, begin + length))
            first = 0 if window is None else max(0, before + start - begin - window + 1)
            spans = [slice(first, before), slice(begin + max(0, first - before), rows.stop)]
            yield rows, [span for span in spans if span.start < span.stop]
        begin += length


def _take(tensor: torch.Tensor, spans: list[slice], dim: int) -> torch.Tensor:
    return torch.cat([tensor.narrow(dim, span.start, span.stop - span.start) for span in spans], dim=dim)


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    positions: torch.Tensor,
    rows: slice,
    spans: list[slice],
    window: int | None,
    scale: float,
    softcap: float,
) -> torch.Tensor:
    query = query[:, :, rows]
    key, value = _take(key, spans, dim=2), _take(value, spans, dim=2)
    # Heads that share keys are folded into rows: no copies of keys.
    scores = query.reshape(1, key.shape[1], -1, query.shape[3]) @ key.transpose(2, 3)
    distance = positions[rows, None] - _take(positions, spans, dim=0)
    seen = (distance >= 0) & (distance < (window or torch.inf))
    scores = softcap * (scores.float() * (scale / softcap)).tanh()
    scores = scores.unflatten(2, (-1, query.shape[2])).masked_fill(~seen, -torch.inf)
    weights: torch.Tensor = scores.softmax(dim=-1).flatten(2, 3).to(value.dtype)
    return (weights @ value).reshape(query.shape)
