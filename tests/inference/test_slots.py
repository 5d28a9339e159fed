from __future__ import annotations

import torch
from transformers import LlamaForCausalLM

from needlework.inference.slots import SlotCache


def fill(cache: SlotCache, row: int, start: int, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    cache.expect(row, torch.arange(start, start + states.shape[2])[None])
    return cache.update(states, -states, 0)


def states(tokens: int, rows: int = 1) -> torch.Tensor:
    return torch.randn(rows, 2, tokens, 4)


def test_a_row_returns_all_it_holds(model: LlamaForCausalLM) -> None:
    cache, first, second = SlotCache(model, rows=2, capacity=9), states(3), states(2)
    fill(cache, 1, 0, first)
    keys, values = fill(cache, 1, 3, second)
    torch.testing.assert_close(keys, torch.cat([first, second], 2))
    torch.testing.assert_close(values, -keys)


def test_a_forked_row_begins_as_a_copy_and_then_differs(model: LlamaForCausalLM) -> None:
    cache, first = SlotCache(model, rows=2, capacity=9), states(5)
    for layer in range(2):
        cache.expect(0, torch.arange(5)[None])
        cache.update(first, first, layer)
    cache.fork(0, [1], [3])
    second = states(1)
    keys, _ = fill(cache, 1, 3, second)
    torch.testing.assert_close(keys, torch.cat([first[:, :, :3], second], 2))
    torch.testing.assert_close(cache.layers[0].keys[0, :, :5], first[0])


def test_decoding_writes_each_row_at_its_own_position(model: LlamaForCausalLM) -> None:
    cache = SlotCache(model, rows=2, capacity=9)
    long, short, new = states(4), states(2), states(1, rows=2)
    fill(cache, 0, 0, long)
    fill(cache, 1, 0, short)
    cache.expect(0, torch.tensor([[4], [2]]))
    keys, _ = cache.update(new, new, 0)
    assert keys.shape[2] == 5
    torch.testing.assert_close(keys[0, :, 4], new[0, :, 0])
    torch.testing.assert_close(keys[1, :, 2], new[1, :, 0])
    torch.testing.assert_close(keys[1, :, :2], short[0])


def test_keep_drops_the_other_rows(model: LlamaForCausalLM) -> None:
    cache = SlotCache(model, rows=3, capacity=4)
    kept = []
    for row in range(3):
        kept.append(states(2))
        for layer in range(2):
            cache.expect(row, torch.arange(2)[None])
            cache.update(kept[-1], kept[-1], layer)
    cache.keep([0, 2])
    assert cache.rows == 2
    torch.testing.assert_close(cache.layers[1].keys[1, :, :2], kept[2][0])
