from __future__ import annotations

import pytest
import torch

from needlework.models import fused
from needlework.models.fused import copies_keys, fused_attention


@pytest.mark.parametrize("masked", [False, True])
def test_keys_copied_for_their_heads_attend_as_shared_ones_do(monkeypatch: pytest.MonkeyPatch, masked: bool) -> None:
    torch.manual_seed(0)
    query, (key, value) = torch.randn(1, 6, 9, 8), torch.randn(2, 1, 2, 9, 8)
    mask = torch.ones(9, 9, dtype=torch.bool).tril(-2) | torch.eye(9, dtype=torch.bool) if masked else None
    shared = fused_attention(query, key, value, scale=0.3, mask=mask)
    monkeypatch.setattr(fused, "copies_keys", lambda device, dtype, *, masked: True)
    torch.testing.assert_close(fused_attention(query, key, value, scale=0.3, mask=mask), shared)
    heads = key.repeat_interleave(3, dim=1)
    seen = torch.ones(9, 9, dtype=torch.bool).tril() if mask is None else mask
    scores = (query @ heads.transpose(2, 3) * 0.3).masked_fill(~seen, -torch.inf)
    torch.testing.assert_close(shared, scores.softmax(-1) @ value.repeat_interleave(3, dim=1))


def test_keys_are_copied_where_no_fused_kernel_of_the_gpu_shares_them() -> None:
    assert copies_keys("cuda", torch.bfloat16, masked=True)
    assert copies_keys("cuda", torch.float32, masked=False)
    assert not copies_keys("cuda", torch.bfloat16, masked=False)
    assert not copies_keys("cpu", torch.float32, masked=True)
