"""The dataset of a recipe: a pure function from a sample's index to its haystack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from needlework.dataset.budget import fit
from needlework.dataset.encoded import Encoded, encode
from needlework.errors import BudgetError
from needlework.haystack import Haystack
from needlework.models.chat import Renderer
from needlework.tasks.simple_dict import SimpleDict


@dataclass
class SyntheticDataset(Sequence[Haystack]):
    """Haystacks of a synthetic task. Sample `i` depends on the arguments and `i` alone.

    Args:
        task: Makes a haystack from a generator, a number of items and a number of needles.
        size: How many haystacks there are.
        num_needles: Needles in each.
        max_tokens: Upper bound of prompt and longest answer, counted exactly.
        num_items: Items in each haystack, or the lowest and highest, drawn uniformly; by default as
            many as `max_tokens` allows.
        seed: Seed of the whole dataset.
        renderer: The tokenizer and chat template that tokens are counted with.
    """

    task: SimpleDict
    size: int
    num_needles: int
    max_tokens: int
    renderer: Renderer
    num_items: tuple[int, int] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        self._guess = 8

    def __len__(self) -> int:
        return self.size

    def largest(self) -> Haystack:
        """Return the largest haystack the settings allow.

        Raises:
            BudgetError: If it cannot fit `max_tokens`.
        """
        if self.num_items is None:
            return self[0]
        return replace(self, num_items=(self.num_items[1], self.num_items[1]))[0]

    def encoded(self, index: int) -> list[Encoded]:
        """Return the rows of sample `index` as token ids.

        Raises:
            BudgetError: If it cannot fit `max_tokens`.
        """
        return encode(self[index], self.renderer)

    def __getitem__(self, index: int) -> Haystack:  # type: ignore[override]  # no slices
        """Return sample `index`.

        Raises:
            BudgetError: If it cannot fit `max_tokens`.
        """
        if not 0 <= index < self.size:
            raise IndexError(index)

        def make(num_items: int) -> Haystack:
            # The same generator state for each size: only then does one item more add one item.
            return self.task(np.random.default_rng([self.seed, index]), num_items, self.num_needles, id=str(index))

        if self.num_items is None:
            haystack = fit(
                make,
                max_tokens=self.max_tokens,
                min_items=self.task.min_items(self.num_needles),
                renderer=self.renderer,
                guess=self._guess,
            )
            self._guess = len(haystack.items)
            return haystack
        low, high = self.num_items
        # A stream of its own: the task's must not depend on whether the size was drawn.
        count = int(np.random.default_rng([self.seed, index, 1]).integers(low, high + 1))
        haystack = make(count)
        if (tokens := self.renderer.count(haystack)) > self.max_tokens:
            raise BudgetError(
                f"sample {index} with {count} items needs {tokens} tokens, but max_tokens={self.max_tokens}. "
                f"Raise max_tokens or ask for fewer items."
            )
        return haystack
