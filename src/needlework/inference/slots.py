"""A key-value cache with a row for each prompt, in which rows can begin as copies of each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class _SlotLayer(DynamicLayer):
    """Keys and values of one layer, [rows, heads, capacity, head_dim], a token's index its position."""

    def __init__(self, cache: SlotCache) -> None:
        super().__init__()
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
        rows, positions = cache.index
        end = cache.length + key_states.shape[2]
        for buffer, states in ((self.keys, key_states), (self.values, value_states)):
            buffer[rows[:, None], :, positions] = states.transpose(1, 2)
        if cache.whole:
            return self.keys[:, :, :end], self.values[:, :, :end]
        return self.keys[rows, :, :end], self.values[rows, :, :end]

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
        self.whole = True
        """Whether the next forward adds to all rows, so that none has to be picked out."""
        self.index = (torch.empty(0), torch.empty(0))
        count = model.config.get_text_config().num_hidden_layers
        super().__init__(layers=[_SlotLayer(self) for _ in range(count)])

    def expect(self, rows: list[int], positions: torch.Tensor) -> None:
        """Say which rows the next forward adds to, and at which positions, shape [len(rows), N]."""
        self.index = (torch.tensor(rows, device=positions.device), positions)
        self.length = int(positions[:, 0].max())
        self.whole = rows == list(range(self.rows))

    def fork(self, source: int, rows: list[int], lengths: list[int]) -> None:
        """Let each row begin with so many tokens of row `source`."""
        for layer in self.layers:
            for buffer in (layer.keys, layer.values):
                for row, length in zip(rows, lengths, strict=True):
                    buffer[row, :, :length] = buffer[source, :, :length]  # type: ignore[index]

    def keep(self, rows: list[int]) -> None:
        """Drop all rows but these."""
        self.rows = len(rows)
        for layer in self.layers:
            layer.keys, layer.values = layer.keys[rows], layer.values[rows]  # type: ignore[index]
