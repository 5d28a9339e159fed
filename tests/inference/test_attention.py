from __future__ import annotations

from typing import Any

import pytest
import torch

from needlework.inference import attention
from needlework.inference.attention import NOWHERE, Places, Rule, attend, merge

HEADS, GROUPS, DIM = 4, 2, 8
RULES = [Rule(0.3), Rule(0.3, window=7), Rule(0.3, softcap=0.5), Rule(0.3, window=7, softcap=0.5)]


def states(heads: int, tokens: int, rows: int = 1) -> torch.Tensor:
    return torch.randn(rows, heads, tokens, DIM)


def places(start: int, stop: int) -> Places:
    return Places(torch.arange(start, stop)[None])


def plain(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rule: Rule, seen: torch.Tensor) -> torch.Tensor:
    """Attend in the textbook's way."""
    key, value = (each.repeat_interleave(HEADS // GROUPS, dim=1) for each in (key, value))
    scores = query @ key.transpose(2, 3) * rule.scale
    if rule.softcap:
        scores = rule.softcap * (scores / rule.softcap).tanh()
    return scores.masked_fill(~seen, -torch.inf).softmax(-1) @ value


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("scores_held", [1 << 24, 100])
def test_parts_joined_equal_attention_over_all_keys(
    rule: Rule, scores_held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "SCORES", scores_held)
    torch.manual_seed(0)
    query, key, value = states(HEADS, 6), states(GROUPS, 20), states(GROUPS, 20)
    at = places(14, 20)
    output, lse = attend(query, key[:, :, 14:], value[:, :, 14:], rule, at, at)
    # The first part lies wholly beyond the window.
    for part in (slice(0, 5), slice(5, 14)):
        keys_at = places(part.start, part.stop)
        merge(output, lse, *attend(query, key[:, :, part], value[:, :, part], rule, at, keys_at))
    distance = torch.arange(14, 20)[:, None] - torch.arange(20)
    seen = (distance >= 0) & (distance < (rule.window or NOWHERE))
    torch.testing.assert_close(output, plain(query, key, value, rule, seen))


@pytest.mark.parametrize("rule", RULES)
def test_padding_is_not_seen(rule: Rule) -> None:
    torch.manual_seed(0)
    query, key, value = states(HEADS, 1, rows=2), states(GROUPS, 5, rows=2), states(GROUPS, 5, rows=2)
    queries, keys = torch.tensor([[4], [9]]), torch.tensor([[0, 1, 2, 3, 4], [NOWHERE, NOWHERE, 7, 8, 9]])
    output, _ = attend(query, key, value, rule, Places(queries), Places(keys))
    expected = plain(query, key, value, rule, (keys < NOWHERE)[:, None, None])
    torch.testing.assert_close(output, expected)


def test_a_window_that_reaches_everything_cuts_nothing() -> None:
    assert not places(4, 8).cut(places(0, 8), 8)
    assert places(4, 8).cut(places(0, 8), 7)
    assert not places(4, 8).cut(places(0, 8), None)


def test_a_gpus_kernel_is_taken_only_where_it_agrees_with_plain_products(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (torch.device("cpu"), torch.bfloat16, 4, 2, 16)
    tried = attention.gives_lse.__wrapped__
    # A CPU has no such kernel.
    assert not tried(*shape)

    def right(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, *, causal: bool) -> Any:
        places = Places(torch.arange(key.shape[2])[None])
        ours = places if causal else Places(torch.full((1, query.shape[2]), key.shape[2]))
        return attention._products(query, key, value, Rule(scale), ours, places)

    def without_lse(*args: Any, **options: Any) -> Any:
        output, lse = right(*args, **options)
        return output, torch.zeros_like(lse)

    for flash, agrees in ((right, True), (without_lse, False)):
        monkeypatch.setattr(attention, "_flash", flash)
        assert tried(*shape) is agrees
    assert not tried(torch.device("cpu"), torch.float32, 4, 2, 16)
