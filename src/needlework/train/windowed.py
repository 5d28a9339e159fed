"""Attention of prefix rows within a window, a piece of rows at a time.

A mask of all pairs would take the memory and the time of [P, P] scores in every layer. Here each piece multiplies with
the keys that its rows see and few others, and all pieces and layers share the masks of a few shapes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from needlework.models.fused import fused_attention, share

if TYPE_CHECKING:
    from needlework.train.shared_prefix import Layout

ROWS = 256
"""Rows of one piece. Fewer make slow products, more multiply with more keys in vain."""


def windowed_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: Layout, *, window: int, scale: float
) -> torch.Tensor:
    """Attend causally within a window.

    Args:
        query: Shape [1, heads, P, head_dim]; `key` and `value` have as many or fewer heads.
        layout: The row's layout, which keeps the masks.
        window: Positions a row sees, itself included.
        scale: Factor of the scores.

    Returns:
        The output, of the query's shape.
    """
    query, key, value = share(query, key, value, masked=True)
    # In blocks as long as the window, of which a piece sees its own and the one before: the gradient of a slice is as
    # long as what it is cut from, which for slices of the whole row would be work by the square of its length.
    queries, keys, values = (each.split(ROWS * -(-window // ROWS), dim=2) for each in (query, key, value))
    pieces = []
    for number, rows in enumerate(queries):
        near = [torch.cat(each[max(0, number - 1) : number + 1], dim=2) for each in (keys, values)]
        before = near[0].shape[2] - rows.shape[2]
        for start in range(0, rows.shape[2], ROWS):
            stop = min(start + ROWS, rows.shape[2])
            seen = slice(max(0, before + start - window + 1), before + stop)
            mask = layout.added_to_prefix(stop - start, seen.stop - seen.start, window, like=value)
            of_piece = rows[:, :, start:stop], *(each[:, :, seen] for each in near)
            pieces.append(fused_attention(*of_piece, scale=scale, mask=mask))
    return torch.cat(pieces, dim=2)
