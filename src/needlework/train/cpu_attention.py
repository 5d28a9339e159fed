"""Attention of a packed row on CPU, without a mask and without copies of the prefix's keys.

With a mask every branch row is multiplied with the keys of all branches, to be thrown away. Here the branch rows
attend to the prefix, and to their own branch, in one unmasked call each; the two results are joined by their
log-sum-exp, as ring attention does (arXiv 2310.01889, section 3). Given the joined output and log-sum-exp, each
call's own backward gives the exact gradient of its part.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil, gcd
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from needlework import processes
from needlework.models.loading import fastest_precision
from needlework.storage import read_object, write_json

if TYPE_CHECKING:
    from needlework.models.loading import Precision
    from needlework.train.shared_prefix import Layout

flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward

LONG = 2048
"""Tokens of a prefix whose attention is so much of a step that its threads should all be busy."""

SHARE = 256
"""Rows of a group that are worth cutting off for another thread."""

_settled: Precision | None = None
"""What bf16's attention is computed in during a training."""


@contextmanager
def settled(folder: Path) -> Iterator[None]:
    """Attend in one precision in all processes of a training and of those that resume it: timing finds the faster one.

    Args:
        folder: The folder of the training's checkpoints.
    """
    global _settled
    path = folder / "attention.json"

    def settle() -> Precision:
        saved = read_object(path)
        if saved is None or saved.get("bf16") not in ("fp32", "bf16"):
            write_json(path, saved := {"bf16": fastest_precision()})
        return cast("Precision", saved["bf16"])

    _settled = processes.first(settle)
    try:
        yield
    finally:
        _settled = None


def cpu_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    layout: Layout,
    *,
    scale: float,
    skip_prefix: bool = False,
) -> torch.Tensor:
    """Attend over one packed row: its prefix causally, each branch to the prefix and causally to itself.

    In bf16 too it computes in fp32 where this machine is not faster in bf16: many CPUs are slower.

    Args:
        query: Shape [1, H, P + S, D].
        key: Shape [1, G, P + S, D], as `value`; H is a multiple of G.
        layout: The row's layout.
        scale: Factor of the scores.
        skip_prefix: Leave the output of the prefix rows at zero.

    Returns:
        Shape [1, H, P + S, D], in the precision of `value`.
    """
    # Under autocast rotary embeddings leave queries and keys in fp32.
    slower = value.dtype == torch.bfloat16 and (_settled or fastest_precision()) == "fp32"
    dtype = torch.float32 if slower else value.dtype
    inputs = (each.to(dtype) for each in (query, key, value))
    output: torch.Tensor = _Attention.apply(*inputs, layout, scale, skip_prefix)  # type: ignore[no-untyped-call]
    return output.to(value.dtype)


class _Attention(torch.autograd.Function):
    """`cpu_attention` in one precision, with its gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        layout: Layout,
        scale: float,
        skip_prefix: bool,
    ) -> torch.Tensor:
        """Attend three times, and join the two results of the branch rows."""
        parts, prefix = _Parts(query, key, value, layout), layout.prefix
        output = torch.empty_like(query)
        prefix_lse = None
        if skip_prefix:
            output[:, :, :prefix] = 0
        else:
            output[:, :, :prefix], prefix_lse = flash(*parts.prefix(), 0.0, True, scale=scale)
        far, far_lse = flash(*parts.far(), 0.0, False, scale=scale)
        near, near_lse = flash(*parts.near(), 0.0, True, scale=scale)
        far, far_lse = parts.unfold(far), parts.unfold(far_lse)
        near, near_lse = parts.unpad(near), parts.unpad(near_lse)
        lse = torch.logaddexp(far_lse, near_lse)
        output[:, :, prefix:] = far * (far_lse - lse).exp()[..., None] + near * (near_lse - lse).exp()[..., None]
        ctx.save_for_backward(query, key, value, output, prefix_lse, lse)
        ctx.layout, ctx.scale = layout, scale
        return output

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        """Return the gradients of query, key and value."""
        query, key, value, output, prefix_lse, lse = ctx.saved_tensors
        prefix, scale = ctx.layout.prefix, ctx.scale
        parts = _Parts(query, key, value, ctx.layout)
        pad, unpad = parts.pad, parts.unpad
        upstream, joined = gradient[:, :, prefix:], output[:, :, prefix:]
        far = parts.far_backward(upstream, joined, lse, scale)
        # In bf16 PyTorch's backward of such short rows takes three times as long.
        near_inputs = (each.float() for each in (pad(upstream), *parts.near(), pad(joined), pad(lse)))
        near = flash_backward(*near_inputs, 0.0, True, scale=scale)
        to_query, to_key, to_value = (torch.empty_like(each) for each in (query, key, value))
        to_query[:, :, prefix:] = far[0] + unpad(near[0])
        to_key[:, :, :prefix], to_value[:, :, :prefix] = far[1:]
        to_key[:, :, prefix:], to_value[:, :, prefix:] = (parts.ungroup(unpad(each)) for each in near[1:])
        if prefix_lse is None:
            to_query[:, :, :prefix] = 0
        else:
            upstream, own = gradient[:, :, :prefix], output[:, :, :prefix]
            found = flash_backward(upstream, *parts.prefix(), own, prefix_lse, 0.0, True, scale=scale)
            to_query[:, :, :prefix] = found[0]
            to_key[:, :, :prefix] += parts.ungroup(found[1])
            to_value[:, :, :prefix] += parts.ungroup(found[2])
        return to_query, to_key, to_value, None, None, None


class _Parts:
    """The three calls' shapes of the same tensors.

    prefix: heads that share keys as they are, or with copies of the keys while the call runs (see `_copies`).
    far:    heads that share keys folded into rows, [1, G, (H/G) S, D]: no copies of prefix keys.
    near:   branches as a batch, [K, H, L, D]; a causal row never sees the padding after it.
    """

    def __init__(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: Layout) -> None:
        prefix, places = layout.prefix, layout.places
        self.before, self.after = ([each[:, :, rows] for each in (query, key, value)] for rows in _halves(prefix))
        self.heads, self.groups = query.shape[1], key.shape[1]
        self.rows = query.shape[2] - prefix
        self.copies = prefix >= LONG and _copies(self.heads, self.groups, torch.get_num_threads())
        self.filled = places >= 0
        self.places = places.clamp(min=0)

    def prefix(self) -> tuple[torch.Tensor, ...]:
        query, *shared = self.before
        return query, *(map(self.repeat, shared) if self.copies else shared)

    def far(self) -> tuple[torch.Tensor, ...]:
        return self.fold(self.after[0]), *self.before[1:]

    def far_backward(
        self, gradient: torch.Tensor, output: torch.Tensor, lse: torch.Tensor, scale: float
    ) -> tuple[torch.Tensor, ...]:
        """Return the gradients of the branch rows' queries and of the prefix's keys and values.

        PyTorch's backward gives a thread whole groups, which may leave most threads idle. No row depends on another, so
        the rows of each group are cut into several shares.
        """
        rows = self.heads // self.groups * self.rows
        shares = shares_of(self.groups, rows, torch.get_num_threads())
        length = ceil(rows / shares)

        def cut(each: torch.Tensor) -> torch.Tensor:
            # Rows of zeros, whose gradient is zero, make shares equal.
            sizes = (0,) * (2 * each.dim() - 5) + (shares * length - rows,)
            filled = torch.nn.functional.pad(self.fold(each), sizes)
            return filled.reshape(self.groups, shares, length, *each.shape[3:]).transpose(0, 1)

        keys = (each.expand(shares, -1, -1, -1) for each in self.before[1:])
        inputs = (cut(gradient), cut(self.after[0]), *keys, cut(output), cut(lse))
        to_query, *to_shared = flash_backward(*inputs, 0.0, False, scale=scale)
        to_query = to_query.transpose(0, 1).reshape(1, self.groups, shares * length, -1)[:, :, :rows]
        return self.unfold(to_query), *(each.sum(0, keepdim=True) for each in to_shared)

    def near(self) -> tuple[torch.Tensor, ...]:
        query, *shared = self.after
        return self.pad(query), *(self.pad(self.repeat(each)) for each in shared)

    def repeat(self, each: torch.Tensor) -> torch.Tensor:
        return each.repeat_interleave(self.heads // self.groups, dim=1)

    def fold(self, each: torch.Tensor) -> torch.Tensor:
        return each.reshape(1, self.groups, -1, *each.shape[3:])

    def unfold(self, each: torch.Tensor) -> torch.Tensor:
        return each.reshape(1, self.heads, self.rows, *each.shape[3:])

    def pad(self, each: torch.Tensor) -> torch.Tensor:
        padded = each[0][:, self.places].transpose(0, 1)
        # Padding repeats a row. Zeros in its place add nothing in the backward; its log-sum-exp stays finite.
        return padded * self.filled[:, None, :, None] if each.dim() == 4 else padded

    def unpad(self, each: torch.Tensor) -> torch.Tensor:
        return each.transpose(0, 1)[:, self.filled][None]

    def ungroup(self, each: torch.Tensor) -> torch.Tensor:
        """Sum the gradients of heads that share a key, where keys were copied for them."""
        return each.reshape(1, self.groups, -1, *each.shape[2:]).sum(2)


def _halves(prefix: int) -> tuple[slice, slice]:
    return slice(None, prefix), slice(prefix, None)


def shares_of(groups: int, rows: int, threads: int) -> int:
    """Return into how many parts to cut the rows of each group, so that all threads have equally many to do."""
    return max(1, min(threads // gcd(groups, threads), rows // SHARE))


def _copies(heads: int, groups: int, threads: int) -> bool:
    """Return whether more threads are busy with heads than with groups, which share out PyTorch's backward.

    One group on two threads takes 1.3 times as long as its two heads with copies of the key, three groups 1.1 times as
    long as nine heads. Where all threads are busy, copies are lost time.
    """
    return ceil(heads / threads) * groups < ceil(groups / threads) * heads
