from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from needlework.train.branch_attention import BranchAttention
from needlework.train.shared_prefix import Layout


@pytest.mark.parametrize("branches", [(5,), (7, 7, 7), (9, 1, 4, 30)])
@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (6, 2), (3, 1)])
def test_output_and_gradients_equal_masked_attention(branches: tuple[int, ...], heads: int, groups: int) -> None:
    torch.manual_seed(0)
    layout, rows = Layout(40, branches), sum(branches)
    shapes = ((heads, rows), (groups, 40 + rows), (groups, 40 + rows))
    inputs = [torch.randn(1, *shape, 16, requires_grad=True) for shape in shapes]
    upstream = torch.randn(1, heads, rows, 16)

    mask = layout.branch_mask(None, torch.device("cpu"))
    expected = scaled_dot_product_attention(*inputs, attn_mask=mask, scale=0.3, enable_gqa=True)
    expected_gradients = torch.autograd.grad(expected, inputs, upstream)
    found = BranchAttention.apply(*inputs, layout.places(), 0.3)
    found_gradients = torch.autograd.grad(found, inputs, upstream)

    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    for mine, reference in zip(found_gradients, expected_gradients, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-4, atol=1e-5)


def test_bf16_stays_bf16() -> None:
    layout = Layout(8, (3, 2))
    inputs = [torch.randn(1, 2, tokens, 16, dtype=torch.bfloat16, requires_grad=True) for tokens in (5, 13, 13)]
    output = BranchAttention.apply(*inputs, layout.places(), 0.25)
    assert output.dtype == torch.bfloat16
    assert {each.dtype for each in torch.autograd.grad(output.sum(), inputs)} == {torch.bfloat16}
