from __future__ import annotations

import pytest
import torch

from needlework.train import softcap
from needlework.train.shared_prefix import Layout
from needlework.train.softcap import softcapped_attention


def whole(layout: Layout, window: int | None, *tensors: torch.Tensor) -> torch.Tensor:
    """The definition, with all scores of the packed row at once."""
    query, key, value = tensors
    shared = query.shape[1] // key.shape[1]
    key, value = (each.repeat_interleave(shared, dim=1) for each in (key, value))
    scores = 3.0 * torch.tanh(0.5 * (query @ key.transpose(2, 3)) / 3.0)
    positions = layout.positions()
    distance = positions[:, None] - positions
    seen = (distance >= 0) & (distance < (window or len(positions)))
    seen[: layout.prefix, layout.prefix :] = False
    seen[layout.prefix :] = layout.branch_mask(window, key.device)
    return scores.masked_fill(~seen, -torch.inf).softmax(-1) @ value


@pytest.mark.parametrize("window", [None, 7, 25])
@pytest.mark.parametrize("rows", [4, 16, 256])
def test_pieces_equal_the_whole(rows: int, window: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softcap, "ROWS", rows)
    torch.manual_seed(0)
    layout = Layout(30, (5, 9, 1))
    inputs = [torch.randn(1, heads, 45, 8, requires_grad=True) for heads in (4, 2, 2)]
    upstream = torch.randn(1, 4, 45, 8)
    expected = whole(layout, window, *inputs)
    found = softcapped_attention(*inputs, layout, window=window, scale=0.5, softcap=3.0)
    torch.testing.assert_close(found, expected)
    gradients = torch.autograd.grad(found, inputs, upstream)
    for mine, reference in zip(gradients, torch.autograd.grad(expected, inputs, upstream), strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-4, atol=1e-5)


def test_where_the_prefix_is_skipped_the_branches_are_the_same() -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(1, 2, 45, 8) for _ in range(3)]
    layout = Layout(30, (5, 9, 1))
    every, branches = (
        softcapped_attention(*inputs, layout, window=7, scale=0.5, softcap=3.0, skip_prefix=skip)
        for skip in (False, True)
    )
    assert torch.equal(branches[:, :, 30:], every[:, :, 30:])
    assert not branches[:, :, :30].any()


def test_no_scores_are_kept_for_the_backward() -> None:
    layout = Layout(400, (50, 50))
    inputs = [torch.randn(1, 2, 500, 8, requires_grad=True) for _ in range(3)]
    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda each: kept.append(each) or each, lambda each: each):
        softcapped_attention(*inputs, layout, window=None, scale=1.0, softcap=3.0)
    sizes = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in kept}
    assert sum(sizes.values()) < 4 * 2 * 500 * 500


def test_bf16_stays_bf16() -> None:
    inputs = [torch.randn(1, 2, 13, 16, dtype=torch.bfloat16, requires_grad=True) for _ in range(3)]
    output = softcapped_attention(*inputs, Layout(8, (3, 2)), window=None, scale=0.25, softcap=3.0)
    assert output.dtype == torch.bfloat16
    assert {each.dtype for each in torch.autograd.grad(output.sum(), inputs)} == {torch.bfloat16}
