"""The dataset of a recipe: a pure function from a sample's index to its haystack."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import islice
from typing import Any, overload

import numpy as np

from needlework.dataset.budget import Budget
from needlework.dataset.composer import Composer
from needlework.dataset.encoded import Encoded
from needlework.errors import BudgetError
from needlework.haystack import Haystack
from needlework.models.chat import Renderer
from needlework.tasks.draft import Draft
from needlework.tasks.protocol import Task, drafts

BATCH = 32
"""Samples that are drawn together: more save no time and no longer fit the CPU cache."""

TOKENS = 1 << 17
"""Approximate number of tokens whose rows are composed together, limited for the same reason."""

CHECKED, FEW = 2048, 3
"""Samples that are tried in advance, if a haystack holds at most `FEW` times the fewest items."""

HELD_OUT = 7_310_260
"""Offset from the seed of a dataset to that of the haystacks held out from it."""


@dataclass
class SyntheticDataset(Sequence[Haystack]):
    """Haystacks of a synthetic task. Sample `i` depends on the arguments and `i` alone.

    Args:
        task: Draws the contents of a haystack from a generator.
        size: How many haystacks there are.
        num_needles: Needles in each.
        max_tokens: Upper bound of prompt and longest answer, counted exactly.
        num_items: Fewest and most items in each haystack, drawn uniformly; by default as many items as
            `max_tokens` allows.
        seed: Seed of the whole dataset.
        renderer: The tokenizer and chat template that tokens are counted with.
    """

    task: Task
    size: int
    num_needles: int
    max_tokens: int
    renderer: Renderer
    num_items: tuple[int, int] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        self.composer = Composer(self.renderer)
        self.budget = Budget(self.max_tokens, self.composer)

    def __reduce__(self) -> tuple[Any, ...]:
        # The caches are large, and other processes can compute them again.
        return type(self), tuple(getattr(self, field.name) for field in fields(self))

    def __len__(self) -> int:
        return self.size

    def __str__(self) -> str:
        return f"{self.size:,} haystacks of {self.num_needles} needles"

    def place(self, index: int) -> str:
        """Return what identifies sample `index`."""
        return f"sample {index} of seed {self.seed}"

    def largest(self) -> Haystack:
        """Return a haystack with the most items the settings allow.

        Raises:
            BudgetError: If one of the first samples cannot fit `max_tokens`; names what the longest of them needs.
        """
        items = self.num_items
        full = self if items is None else replace(self, num_items=(items[1], items[1]))
        try:
            largest = full[0]
        except BudgetError:
            full._try_first()
            raise
        # Where there is room for many items, some fit whatever they contain.
        if items is not None or len(largest.items) <= FEW * self._min_items:
            self._try_first()
        return largest

    def _try_first(self) -> None:
        """Draft the first samples; of those that do not fit, raise the error of the longest."""
        errors = []
        for index in range(min(self.size, CHECKED)):
            try:
                self.draft(index)
            except BudgetError as error:
                errors.append(error)
        if errors:
            raise max(errors, key=lambda error: error.needed)

    def hold_out(self, needles: int) -> tuple[SyntheticDataset, SyntheticDataset]:
        """Return this dataset, and one of the same kind with other samples and at least `needles` needles."""
        return self, replace(self, size=-(-needles // self.num_needles), seed=self.seed + HELD_OUT)

    @overload
    def __getitem__(self, index: int) -> Haystack: ...
    @overload
    def __getitem__(self, index: slice) -> list[Haystack]: ...
    def __getitem__(self, index: int | slice) -> Haystack | list[Haystack]:
        """Return a sample, or a list of those in a slice.

        Raises:
            BudgetError: If one cannot fit `max_tokens`.
        """
        if isinstance(index, slice):
            return [self[each] for each in range(self.size)[index]]
        index = range(self.size)[index]
        draft, num_items = self.draft(index)
        return draft.haystack(num_items, str(index))

    def encoded(self, index: int) -> list[Encoded]:
        """Return the rows of sample `index` as token ids.

        Raises:
            BudgetError: If it cannot fit `max_tokens`.
        """
        (rows,) = self.composer.encode([self.draft(range(self.size)[index])])
        return rows

    def encoded_many(self, indices: Sequence[int]) -> Iterator[list[Encoded]]:
        """Yield what `encoded` returns for each of the samples, in less time.

        Raises:
            BudgetError: If one cannot fit `max_tokens`.
        """
        if indices and not 0 <= min(indices) <= max(indices) < self.size:
            raise IndexError(f"there are {self.size} samples")
        together = max(1, TOKENS // (self.max_tokens * self.num_needles))
        for start in range(0, len(indices), BATCH):
            drafted = iter([*self._drafts(indices[start : start + BATCH])])
            while some := [*islice(drafted, together)]:
                yield from self.composer.encode(some)

    def draft(self, index: int) -> tuple[Draft, int]:
        """Return the draft of sample `index` and its number of items.

        Raises:
            BudgetError: If it cannot fit `max_tokens`.
        """
        if not 0 <= index < self.size:
            raise IndexError(index)
        (draft,) = self._drafts([index])
        return draft

    def _drafts(self, indices: Sequence[int]) -> Iterator[tuple[Draft, int]]:
        if self.num_items is not None:
            for index in indices:
                yield self._checked(index, partial(self._of_size, index, self.num_items))
            return
        capacity = max(self.budget.capacity, self.num_needles + 1, self._min_items + 1)
        drawn = drafts(self.task, [self._rng(index) for index in indices], capacity, self.num_needles)
        self.composer.prepare(drawn)
        for index, draft in zip(indices, drawn, strict=True):
            yield self._checked(index, partial(self._fitting, index, capacity, draft))

    def _checked(self, index: int, size: Callable[[], tuple[Draft, int]]) -> tuple[Draft, int]:
        draft, num_items = size()
        if not self.composer.check(draft, num_items, index):
            draft, num_items = size()
        return draft, num_items

    def _fitting(self, index: int, capacity: int, drawn: Draft) -> tuple[Draft, int]:
        def draw(wanted: int) -> Draft:
            return drawn if wanted == capacity else self._draw(index, wanted)

        return self.budget.fit(draw, min_items=self._min_items, num_needles=self.num_needles, capacity=capacity)

    def _of_size(self, index: int, bounds: tuple[int, int]) -> tuple[Draft, int]:
        # A separate stream: the task's must not depend on whether the size was drawn.
        num_items = int(np.random.default_rng([self.seed, index, 1]).integers(bounds[0], bounds[1] + 1))
        draft = self._draw(index, num_items)
        if (tokens := self.composer.count(draft, num_items)) > self.max_tokens:
            raise BudgetError(
                f"sample {index} with {num_items} items needs {tokens} tokens, but max_tokens={self.max_tokens}. "
                f"Raise max_tokens to at least {tokens}, ask for fewer items, or for as many as fit (items=null).",
                tokens,
            )
        return draft, num_items

    def _draw(self, index: int, capacity: int) -> Draft:
        return self.task.draft(self._rng(index), capacity, self.num_needles)

    def _rng(self, index: int) -> np.random.Generator:
        # The same state for every capacity, so that the drafts agree. Seeding with an array of words is faster.
        numbers = [self.seed, index]
        return np.random.default_rng(np.array(numbers, dtype=np.uint32) if max(numbers) < 2**32 else numbers)

    @property
    def _min_items(self) -> int:
        return self.task.min_items(self.num_needles)
