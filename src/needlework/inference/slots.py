"""A key-value cache with a row for each prompt, in which rows can begin as copies of each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers.cache_utils import Cache, DynamicLayer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class _SlotLayer(DynamicLayer):
    """Keys and values of one layer, [rows, heads, capacity, head_dim], a token's index its position."""

    def __init__(self, cache: SlotCache) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.cache = cache

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        def buffer(states: torch.Tensor) -> torch.Tensor:
            _, heads, _, head_dim = states.shape
            return states.new_zeros(self.cache.rows, heads, self.cache.capacity, head_dim)

        self.keys, self.values = buffer(key_states), buffer(value_states)
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store the new states and return those that they attend to."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        cache = self.cache
        index = torch.arange(len(cache.positions), device=key_states.device)[:, None]
        end = cache.length + key_states.shape[2]
        # Views of the rows that go on, without a copy of what they hold already.
        keys, values = (buffer[cache.first : cache.first + len(index)] for buffer in self.buffers())
        keys[index, :, cache.positions] = key_states.transpose(1, 2)
        values[index, :, cache.positions] = value_states.transpose(1, 2)
        return keys[:, :, :end], values[:, :, :end]

    def buffers(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the keys and the values of all rows."""
        assert self.keys is not None
        assert self.values is not None
        return self.keys, self.values

    def get_seq_length(self) -> int:
        return self.cache.length


class SlotCache(Cache):
    """The cache of one batch. Each forward adds as many tokens to each of some rows.

    Args:
        model: The model, for its number of layers.
        rows: Prompts in the batch.
        capacity: Tokens that a row can hold.
    """

    def __init__(self, model: PreTrainedModel, *, rows: int, capacity: int) -> None:
        self.rows = rows
        self.capacity = capacity
        self.length = 0
        """Tokens before those that the next forward adds, in the longest of its rows."""
        self.first = 0
        self.positions = torch.empty(0, 0)
        count = model.config.get_text_config().num_hidden_layers
        super().__init__(layers=[_SlotLayer(self) for _ in range(count)])

    def expect(self, first: int, positions: torch.Tensor) -> None:
        """Say at which positions the next forward adds tokens to the rows from `first` on, shape [B, N]."""
        self.first, self.positions = first, positions
        self.length = int(positions[:, 0].max())

    def _layers(self) -> Iterator[_SlotLayer]:
        return iter(cast("list[_SlotLayer]", self.layers))

    def fork(self, source: int, rows: list[int], lengths: list[int]) -> None:
        """Let each row begin with so many tokens of row `source`."""
        for layer in self._layers():
            for buffer in layer.buffers():
                for row, length in zip(rows, lengths, strict=True):
                    buffer[row, :, :length] = buffer[source, :, :length]

    def keep(self, rows: list[int]) -> None:
        """Drop all rows but these."""
        self.rows = len(rows)
        for layer in self._layers():
            layer.keys, layer.values = (buffer[rows] for buffer in layer.buffers())
