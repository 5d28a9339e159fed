"""Attention of the branch rows without a mask, on CPU.

With a mask every branch row is multiplied with the keys of all branches, to be thrown away. Here the
rows attend to the prefix, and to their own branch, in one unmasked call each; the two results are joined
by their log-sum-exp, as ring attention does (arXiv 2310.01889, section 3). Given the joined output and
log-sum-exp, each call's own backward gives the exact gradient of its part.
"""

from __future__ import annotations

from typing import Any

import torch

flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class BranchAttention(torch.autograd.Function):
    """Attention of S branch rows over P prefix keys and the S keys of the branches.

    `apply(query [1, H, S, D], key [1, G, P + S, D], value, places [K, L], scale)` returns [1, H, S, D].
    `places[k]` holds the rows of branch k among S, filled up with -1 to the longest branch, L.
    """

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, places: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """Attend to the prefix and to the own branch, and join the two."""
        parts = _Parts(query, key, value, places)
        far, far_sums = flash(*parts.far(), 0.0, False, scale=scale)
        near, near_sums = flash(*parts.near(), 0.0, True, scale=scale)
        far, far_sums = parts.unfold(far), parts.unfold(far_sums)
        near, near_sums = parts.unpad(near), parts.unpad(near_sums)
        sums = torch.logaddexp(far_sums, near_sums)
        joined = far * (far_sums - sums).exp()[..., None] + near * (near_sums - sums).exp()[..., None]
        output = joined.to(query.dtype)
        ctx.save_for_backward(query, key, value, places, output, sums)
        ctx.scale = scale
        return output

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        """Return the gradients of query, key and value."""
        query, key, value, places, output, sums = ctx.saved_tensors
        parts = _Parts(query, key, value, places)
        fold, pad = parts.fold, parts.pad
        far = flash_backward(fold(gradient), *parts.far(), fold(output), fold(sums), 0.0, False, scale=ctx.scale)
        near = flash_backward(pad(gradient), *parts.near(), pad(output), pad(sums), 0.0, True, scale=ctx.scale)
        to_query = parts.unfold(far[0]) + parts.unpad(near[0])
        to_key, to_value = (
            torch.cat([from_far, parts.ungroup(parts.unpad(from_near))], dim=2)
            for from_far, from_near in zip(far[1:], near[1:], strict=True)
        )
        return to_query, to_key, to_value, None, None


class _Parts:
    """The two calls' shapes of the same tensors.

    far:  heads that share keys folded into rows, [1, G, (H/G) S, D]: no copies of prefix keys.
    near: branches as a batch, [K, H, L, D]; a causal row never sees the filling behind it.
    """

    def __init__(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, places: torch.Tensor) -> None:
        self.query, self.key, self.value = query, key, value
        self.heads, self.rows = query.shape[1:3]
        self.groups = key.shape[1]
        self.prefix = key.shape[2] - self.rows
        self.filled = places >= 0
        self.places = places.clamp(min=0)

    def far(self) -> tuple[torch.Tensor, ...]:
        return self.fold(self.query), self.key[:, :, : self.prefix], self.value[:, :, : self.prefix]

    def near(self) -> tuple[torch.Tensor, ...]:
        shared = self.heads // self.groups
        own = (each[:, :, self.prefix :].repeat_interleave(shared, dim=1) for each in (self.key, self.value))
        return self.pad(self.query), *map(self.pad, own)

    def fold(self, each: torch.Tensor) -> torch.Tensor:
        return each.reshape(1, self.groups, -1, *each.shape[3:])

    def unfold(self, each: torch.Tensor) -> torch.Tensor:
        return each.reshape(1, self.heads, self.rows, *each.shape[3:])

    def pad(self, each: torch.Tensor) -> torch.Tensor:
        padded = each[0][:, self.places].transpose(0, 1)
        # Filling repeats a row. Zeros in its place add nothing in the backward; its sums stay finite.
        return padded * self.filled[:, None, :, None] if each.dim() == 4 else padded

    def unpad(self, each: torch.Tensor) -> torch.Tensor:
        return each.transpose(0, 1)[:, self.filled][None]

    def ungroup(self, each: torch.Tensor) -> torch.Tensor:
        """Sum the gradients of heads that share a key."""
        return each.reshape(1, self.groups, -1, *each.shape[2:]).sum(2)
