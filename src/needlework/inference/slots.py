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
        rows, positions = cache.index
        end = cache.length + key_states.shape[2]
        keys, values = self.buffers()
        keys[rows[:, None], :, positions] = key_states.transpose(1, 2)
        values[rows[:, None], :, positions] = value_states.transpose(1, 2)
        if cache.whole:
            return keys[:, :, :end], values[:, :, :end]
        return keys[rows, :, :end], values[rows, :, :end]

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
