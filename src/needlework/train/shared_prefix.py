"""Attention over a packed row: one prefix, then K branches that see the prefix and themselves.

    queries         keys: prefix P                 keys: branches S
    prefix rows     causal (window by position)    none
    branch rows     all (window by position)       causal within own branch

The function is registered with transformers' `AttentionInterface` and *not* with its mask registry, so
the model builds no mask of its own: a mask would either be plain causal over the packed row, or, from
the restarting position ids, cut the branches off from the prefix. The layout travels as a keyword.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from needlework.errors import ModelError
from needlework.models.fused import fused_attention
from needlework.train.cpu_attention import cpu_attention
from needlework.train.last_layer import skip_last_prefix
from needlework.train.softcap import softcapped_attention
from needlework.train.supported import check

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ATTENTION = "needlework_shared_prefix"
"""The name under which the attention function is registered."""


class Layout:
    """Where the prefix and each branch of a packed row lie.

    Args:
        prefix: P, tokens of the prefix; at least 1.
        branches: Tokens of each branch; they sum to S.
    """

    def __init__(self, prefix: int, branches: tuple[int, ...]) -> None:
        self.prefix = prefix
        self.branches = branches
        self.layers_seen: set[int] = set()
        self._masks: dict[tuple[int | None, torch.device], torch.Tensor] = {}

    def positions(self) -> torch.Tensor:
        """Return position ids, shape [P + S]: those of each branch go on from the prefix."""
        parts = [torch.arange(self.prefix)]
        parts += [torch.arange(self.prefix, self.prefix + length) for length in self.branches]
        return torch.cat(parts)

    def branch_mask(self, window: int | None, device: torch.device) -> torch.Tensor:
        """Return which keys each branch row sees, shape [S, P + S], made once for each kind of layer."""
        if (window, device) not in self._masks:
            branch = torch.repeat_interleave(torch.tensor(self.branches))
            key_branch = torch.cat([torch.full((self.prefix,), -1), branch])
            positions = self.positions()
            query = positions[self.prefix :, None]
            seen = (key_branch == -1) | (key_branch == branch[:, None])
            seen &= (positions <= query) & _within(window, query, positions)
            self._masks[window, device] = seen.to(device)
        return self._masks[window, device]

    def reaches_all(self, window: int | None) -> bool:
        """Return whether every row sees all that lies before it, as without a window."""
        return window is None or window >= self.prefix + max(self.branches)

    def places(self) -> torch.Tensor:
        """Return the rows of each branch among S, shape [K, longest], filled up with -1."""
        rows = torch.arange(sum(self.branches)).split(list(self.branches))
        return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=-1)

    def prefix_mask(self, window: int | None, device: torch.device) -> torch.Tensor | None:
        """Return which keys each prefix row sees, shape [P, P], or None where that is plain causal."""
        if window is None or window >= self.prefix:
            return None
        positions = torch.arange(self.prefix, device=device)
        query = positions[:, None]
        return (positions <= query) & _within(window, query, positions)


def _within(window: int | None, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    # Windows count positions: rows further down the packed row are not further away.
    return query - key < window if window is not None else torch.ones(1, dtype=torch.bool, device=key.device)


def shared_prefix_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    layout: Layout,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend over one packed row.

    Args:
        query: Shape [1, heads, P + S, head_dim]; `key` and `value` have as many or fewer heads.
        attention_mask: None, because no mask function is registered.
        layout: The row's layout, given to the model's forward.
        scaling: Factor of the scores; 1 / sqrt(head_dim) if not given.
        sliding_window: Positions a row of this layer sees, itself included.
        softcap: Bound of the scores, in models that cap them.

    Returns:
        The attention output, shape [1, P + S, heads, head_dim], and no weights. In the last layer that of the
        prefix, which no answer depends on, is left out: zeros (see last_layer.py).
    """
    if attention_mask is not None or dropout or s_aux is not None:
        raise ModelError("shared-prefix attention takes no mask, dropout or attention sinks; this model gave it one.")
    layout.layers_seen.add(module.layer_idx)
    scale = scaling or query.shape[-1] ** -0.5
    if softcap is not None:
        output = softcapped_attention(query, key, value, layout, window=sliding_window, scale=scale, softcap=softcap)
        return output.transpose(1, 2), None
    prefix, device = layout.prefix, query.device
    # Nothing is asked of the last layer's prefix rows: branches see their keys and values only.
    is_last = module.layer_idx == module.config.num_hidden_layers - 1
    if device.type == "cpu" and layout.reaches_all(sliding_window):
        output = cpu_attention(query, key, value, layout, scale=scale, skip_prefix=is_last)
        return output.transpose(1, 2), None
    if is_last:
        prefix_out = torch.zeros_like(value[:, :1, :1]).expand(*query[:, :, :prefix].shape[:3], value.shape[-1])
    else:
        mask = layout.prefix_mask(sliding_window, device)
        of_prefix = (each[:, :, :prefix] for each in (query, key, value))
        prefix_out = fused_attention(*of_prefix, scale=scale, mask=mask)
    mask = layout.branch_mask(sliding_window, device)
    branch_out = fused_attention(query[:, :, prefix:], key, value, scale=scale, mask=mask)
    return torch.cat([prefix_out, branch_out.to(prefix_out.dtype)], dim=2).transpose(1, 2), None


def enable(model: PreTrainedModel) -> None:
    """Make the model use shared-prefix attention; every forward then needs a `layout`.

    Raises:
        ModelError: If exactness is not proven for this model; says why.
    """
    from transformers import AttentionInterface

    check(model.config)
    AttentionInterface.register(ATTENTION, shared_prefix_attention)
    model.set_attn_implementation(ATTENTION)
    skip_last_prefix(model)


def confirm(layout: Layout, model: PreTrainedModel) -> None:
    """Check that the attention of every layer was ours.

    Raises:
        ModelError: If a layer used another; its result would be silently wrong.
    """
    expected = set(range(model.config.get_text_config().num_hidden_layers))
    if layout.layers_seen != expected:
        missing = sorted(expected - layout.layers_seen)
        raise ModelError(f"layers {missing} did not use shared-prefix attention, so the loss would be wrong.")
