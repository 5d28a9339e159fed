from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from needlework.models import fused
from needlework.train import windowed
from needlework.train.shared_prefix import Layout
from needlework.train.windowed import windowed_attention


def whole(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: int, scale: float) -> torch.Tensor:
    """The definition, with all scores at once."""
    shared = query.shape[1] // key.shape[1]
    key, value = (each.repeat_interleave(shared, dim=1) for each in (key, value))
    positions = torch.arange(query.shape[2])
    distance = positions[:, None] - positions
    seen = (distance >= 0) & (distance < window)
    return (scale * query @ key.transpose(2, 3)).masked_fill(~seen, -torch.inf).softmax(-1) @ value


@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize("window", [1, 7, 16, 29])
@pytest.mark.parametrize("rows", [4, 16, 256])
def test_pieces_equal_the_whole(rows: int, window: int, copies: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windowed, "ROWS", rows)
    monkeypatch.setattr(fused, "copies_keys", lambda device, dtype, *, masked: copies)
    torch.manual_seed(0)
    inputs = [torch.randn(1, heads, 30, 8, requires_grad=True) for heads in (4, 2, 2)]
    upstream = torch.randn(1, 4, 30, 8)
    expected = whole(*inputs, window, 0.5)
    found = windowed_attention(*inputs, Layout(30, (5,)), window=window, scale=0.5)
    torch.testing.assert_close(found, expected)
    gradients = torch.autograd.grad(found, inputs, upstream)
    for mine, reference in zip(gradients, torch.autograd.grad(expected, inputs, upstream), strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-4, atol=1e-5)


def test_what_is_kept_for_the_backward_grows_with_the_prefix_not_with_its_square(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(windowed, "ROWS", 16)
    kept = []
    for prefix in (400, 800):
        inputs = [torch.randn(1, 2, prefix, 8, requires_grad=True) for _ in range(3)]
        sizes: dict[int, int] = {}

        def keep(each: torch.Tensor, sizes: dict[int, int] = sizes) -> torch.Tensor:
            sizes[each.untyped_storage().data_ptr()] = each.untyped_storage().nbytes()
            return each

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda each: each):
            windowed_attention(*inputs, Layout(prefix, (5,)), window=20, scale=1.0)
        kept.append(sum(sizes.values()))
    assert kept[1] < 2 * kept[0]


class Written(TorchDispatchMode):
    """Counts the numbers that operations write."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        views = "view" in str(func) or "slice.Tensor" in str(func)
        self.numbers += 0 if views else sum(each.numel() for each in tree_leaves(output) if hasattr(each, "numel"))
        return output


def test_the_work_of_the_backward_grows_with_the_prefix_not_with_its_square(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windowed, "ROWS", 16)
    written = []
    for prefix in (1000, 2000):
        inputs = [torch.randn(1, 2, prefix, 8, requires_grad=True) for _ in range(3)]
        output = windowed_attention(*inputs, Layout(prefix, (5,)), window=20, scale=1.0)
        with Written() as counted:
            output.sum().backward()
        written.append(counted.numbers)
    assert written[1] < 2.1 * written[0]


def test_pieces_and_layers_share_masks() -> None:
    layout, like = Layout(2048, (5,)), torch.zeros(1)
    first = layout.added_to_prefix(256, 300, 45, like)
    assert layout.added_to_prefix(256, 300, 45, like) is first
    assert layout.added_to_branches(45, like) is layout.added_to_branches(45, like)
    assert layout.added_to_branches(45, like).shape == (5, 44 + 5)


@pytest.mark.parametrize("window", [8, 45])
def test_masks_begin_rows_where_a_gpu_needs_no_copy(window: int) -> None:
    layout, like = Layout(2043, (5, 2)), torch.zeros(1)
    masks = [layout.added_to_prefix(256, 255 + window, window, like), layout.added_to_branches(window, like)]
    assert [mask.stride(0) % 8 for mask in masks] == [0, 0]
    assert [mask.shape for mask in masks] == [(256, 255 + window), (7, window - 1 + 7)]
