"""Attention over a packed row: one prefix, then K branches that see the prefix and themselves.

    queries         keys: prefix P                 keys: branches S
    prefix rows     causal (window by position)    none
    branch rows     all (window by position)       causal within own branch

The function is registered with transformers' `AttentionInterface` and *not* with its mask registry, so
the model builds no mask of its own: a mask would either be plain causal over the packed row, or, from
the restarting position ids, cut the branches off from the prefix. The layout travels as a keyword.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from needlework.errors import ModelError
from needlework.models.fused import fused_attention
from needlework.train.cpu_attention import cpu_attention
from needlework.train.last_layer import skip_last_prefix
from needlework.train.softcap import softcapped_attention
from needlework.train.supported import check
from needlework.train.windowed import windowed_attention

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle
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
        self._masks: dict[tuple[object, ...], torch.Tensor] = {}

    def positions(self) -> torch.Tensor:
        """Return position ids, shape [P + S]: those of each branch go on from the prefix."""
        parts = [torch.arange(self.prefix)]
        parts += [torch.arange(self.prefix, self.prefix + length) for length in self.branches]
        return torch.cat(parts)

    def branch_mask(self, window: int | None, device: torch.device) -> torch.Tensor:
        """Return which keys each branch row sees, shape [S, P + S]."""
        # Made on the device, because a GPU would wait for a CPU that fills so many places.
        branch = torch.repeat_interleave(torch.tensor(self.branches)).to(device)
        key_branch = torch.nn.functional.pad(branch, (self.prefix, 0), value=-1)
        positions = self.positions().to(device)
        query = positions[self.prefix :, None]
        seen = (key_branch == -1) | (key_branch == branch[:, None])
        return seen & (positions <= query) & _within(window, query, positions)

    def added_to_branches(self, window: int | None, like: torch.Tensor) -> torch.Tensor:
        """Return the additive mask of branch rows (0 or minus infinity), shape [S, N], for the last N keys of the row.

        Prefix keys outside every branch's window are dropped. Layers share the tensor: of a boolean mask, PyTorch would
        convert and keep a copy in each layer.
        """
        name = ("branches", window, like.dtype, like.device)
        if name not in self._masks:
            first = 0 if window is None else max(0, self.prefix - window + 1)
            self._masks[name] = _additive(self.branch_mask(window, like.device)[:, first:], like)
        return self._masks[name]

    def added_to_prefix(self, rows: int, keys: int, window: int, like: torch.Tensor) -> torch.Tensor:
        """Return the additive mask of successive prefix rows, shape [rows, keys].

        Args:
            rows: Number of rows.
            keys: Number of keys, of which the last is the last row's own.
            window: Positions a row sees, itself included.
            like: A tensor of the type and on the device wanted.
        """
        name = (rows, keys, window, like.dtype, like.device)
        if name not in self._masks:
            key = torch.arange(keys, device=like.device)
            query = key[keys - rows :, None]
            self._masks[name] = _additive((key <= query) & _within(window, query, key), like)
        return self._masks[name]

    def reaches_all(self, window: int | None) -> bool:
        """Return whether every row sees all that lies before it, as without a window."""
        return window is None or window >= self.prefix + max(self.branches)

    @cached_property
    def places(self) -> torch.Tensor:
        """The rows of each branch among S, shape [K, longest], filled up with -1."""
        rows = torch.arange(sum(self.branches)).split(list(self.branches))
        return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=-1)


def _within(window: int | None, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    # Windows count positions: rows further down the packed row are not further away.
    return query - key < window if window is not None else torch.ones(1, dtype=torch.bool, device=key.device)


def _additive(seen: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    rows, keys = seen.shape
    # CUDA's kernel copies a mask in each call, and keeps the copy, unless rows begin at multiples of eight elements.
    room = torch.zeros(rows, -(-keys // 8) * 8, dtype=like.dtype, device=like.device)
    return room[:, :keys].masked_fill_(~seen, -torch.inf)


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
    # Nothing is asked of the last layer's prefix rows: branches see their keys and values only.
    is_last = module.layer_idx == module.config.num_hidden_layers - 1
    if softcap is not None:
        output = softcapped_attention(
            query, key, value, layout, window=sliding_window, scale=scale, softcap=softcap, skip_prefix=is_last
        )
    elif query.device.type == "cpu" and layout.reaches_all(sliding_window):
        output = cpu_attention(query, key, value, layout, scale=scale, skip_prefix=is_last)
    else:
        output = _fused(query, key, value, layout, window=sliding_window, scale=scale, skip_prefix=is_last)
    return output.transpose(1, 2), None


def _fused(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    layout: Layout,
    *,
    window: int | None,
    scale: float,
    skip_prefix: bool,
) -> torch.Tensor:
    """Attend with PyTorch's fused kernels: of a GPU, and within windows also of a CPU."""
    # Under autocast rotary embeddings leave queries and keys in fp32, for which no kernel of a GPU shares keys.
    query, key, prefix = query.to(value.dtype), key.to(value.dtype), layout.prefix
    of_prefix = query[:, :, :prefix], key[:, :, :prefix], value[:, :, :prefix]
    if skip_prefix:
        prefix_out = torch.zeros_like(value[:, :1, :1]).expand(*query[:, :, :prefix].shape[:3], value.shape[-1])
    elif window is None or window >= prefix:
        prefix_out = fused_attention(*of_prefix, scale=scale)
    else:
        prefix_out = windowed_attention(*of_prefix, layout, window=window, scale=scale)
    mask = layout.added_to_branches(window, like=value)
    key, value = (each[:, :, -mask.shape[1] :] for each in (key, value))
    branch_out = fused_attention(query[:, :, prefix:], key, value, scale=scale, mask=mask)
    return torch.cat([prefix_out, branch_out.to(prefix_out.dtype)], dim=2)


def enable(model: PreTrainedModel) -> list[RemovableHandle]:
    """Make the model use shared-prefix attention; every forward then needs a `layout`.

    Returns:
        The hooks of the last layer.

    Raises:
        ModelError: If exactness is not proven for this model; says why.
    """
    from transformers import AttentionInterface

    check(model.config)
    AttentionInterface.register(ATTENTION, shared_prefix_attention)
    model.set_attn_implementation(ATTENTION)
    return skip_last_prefix(model)


@contextmanager
def packed_attention(model: PreTrainedModel, attention: str = ATTENTION) -> Iterator[None]:
    """Make the model read packed rows, and afterwards attend as it did before.

    Args:
        model: The model.
        attention: The registered attention function, shared-prefix attention or one made of it.

    Raises:
        ModelError: If shared-prefix attention is not proven exact for this model; says why.
    """
    previous, cudnn = model.config._attn_implementation, torch.backends.cuda.cudnn_sdp_enabled()
    hooks = enable(model)
    # The default on Hopper. Its backward gives NaN for some lengths under a mask (pytorch issue 196678), and it plans
    # anew for each shape, of which nearly every row has another.
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        if attention != ATTENTION:
            model.set_attn_implementation(attention)
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(cudnn)
        model.set_attn_implementation(previous)
        for hook in hooks:
            hook.remove()


def confirm(layout: Layout, model: PreTrainedModel) -> None:
    """Check that the attention of every layer was ours.

    Raises:
        ModelError: If a layer used another; its result would be silently wrong.
    """
    expected = set(range(model.config.get_text_config().num_hidden_layers))
    if layout.layers_seen != expected:
        missing = sorted(expected - layout.layers_seen)
        raise ModelError(f"layers {missing} did not use shared-prefix attention, so the loss would be wrong.")
