"""Exact token budgets: how many items of a draft fit, counted as the model will see them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np

from needlework.errors import BudgetError
from needlework.models.chat import Renderer
from needlework.tasks.draft import Draft, Integers, Pieces

CANDIDATES = 32
"""Rows that are tried as the last item of an unordered haystack."""


class Counter(Protocol):
    """Counts the tokens of a draft."""

    def sums(self, draft: Draft) -> Integers:
        """Return roughly how many tokens the first n rows of the contents add, [capacity + 1]."""

    def count(self, draft: Draft, num_items: int) -> int:
        """Return exactly how many tokens the longest prompt of `num_items` items and its answer have."""

    def least(self, draft: Draft, num_items: int) -> int:
        """Return a lower bound of `count`; 0 if none is known without counting."""

    def check(self, draft: Draft, num_items: int, index: int) -> bool:
        """Return whether the count of sample `index` is right; if not, the counter has adapted, so count again."""


class PlainCounter:
    """Counts by tokenizing the rendered text."""

    def __init__(self, renderer: Renderer) -> None:
        self.renderer = renderer

    def sums(self, draft: Draft) -> Integers:
        """Tokenize each item on its own; its neighbours may change the count by a token or two."""
        items = draft.haystack(len(draft.contents), "").items
        # The arrangement puts the items in a different order from the rows.
        rows = np.empty(len(items), dtype=np.int64)
        rows[draft.arrange(len(items)).order] = [len(ids) for ids in self.renderer.encode([f"{x}\n" for x in items])]
        return np.concatenate(([0], np.cumsum(rows)))

    def count(self, draft: Draft, num_items: int) -> int:
        """Tokenize every prompt with its answer."""
        return self.renderer.count(draft.haystack(num_items, ""))

    def least(self, draft: Draft, num_items: int) -> int:
        """Return 0: nothing is known without tokenizing."""
        return 0

    def check(self, draft: Draft, num_items: int, index: int) -> bool:
        """Return True: the rendered text itself was counted."""
        return True


class Budget:
    """Finds how many items fit.

    The summed lengths of the items predict how many should fit; exact counts decide. So the budget is filled to
    within one item: one more would exceed it. Where the order of items is arbitrary, as with passages drawn at
    random, the last item is the one that leaves the fewest tokens unused.

    Args:
        max_tokens: Upper bound of prompt and answer, counted with the chat template.
        counter: Counts with the model's own tokenizer and template.
        name: What the user calls `max_tokens`.
    """

    def __init__(self, max_tokens: int, counter: Counter, name: str = "max_tokens") -> None:
        self.max_tokens = max_tokens
        self.name = name
        self.counter = counter
        # What was found for one haystack is a good first guess for the next; results do not depend on it.
        self.capacity = 32
        """Items that are likely to be enough for the next haystack."""
        self._overhead = 0

    def fit(
        self, draw: Callable[[int], Draft], *, min_items: int, num_needles: int, capacity: int | None = None
    ) -> tuple[Draft, int]:
        """Return a draft and the largest number of its items whose longest prompt and answer fit.

        Args:
            draw: Makes a draft of a given capacity. Drafts of `num_needles` items or more agree in shared rows.
            min_items: The fewest items the task can have.
            num_needles: Needles in the haystack.
            capacity: Capacity to try first, if the caller has drawn it already; by default the budget's own.

        Raises:
            BudgetError: If not even the smallest haystack fits; names the smallest budget that would do.
        """
        lowest = max(min_items, num_needles)
        capacity = capacity or max(self.capacity, lowest + 1)
        while True:
            draft = draw(capacity)
            sums = self.counter.sums(draft)
            num_items = self._closest(sums, lowest)
            tokens = self.counter.count(draft, num_items)
            self._overhead = tokens - int(sums[num_items])
            if (closest := self._closest(sums, lowest)) != num_items:
                num_items = closest
                tokens = self.counter.count(draft, num_items)
            while tokens > self.max_tokens and num_items > lowest:
                num_items -= 1
                tokens = self.counter.count(draft, num_items)
            if tokens > self.max_tokens:
                return self._crowded(draw, range(lowest - 1, min_items - 1, -1), lowest, tokens)
            while num_items < capacity and self._fits(draft, num_items + 1):
                num_items += 1
            if num_items < capacity:
                self.capacity = num_items + num_items // 16 + 2 + (CANDIDATES if draft.unordered else 0)
                return self._fill(draw, draft, num_items) if draft.unordered else draft, num_items
            spare = self.max_tokens - self._overhead - int(sums[-1])
            capacity += max(capacity // 8, int(spare * capacity / sums[-1])) + 4

    def _fits(self, draft: Draft, num_items: int) -> bool:
        # Usually one more item is too much whatever is asked about it, and the lower bound saves arranging it.
        counter, room = self.counter, self.max_tokens
        return counter.least(draft, num_items) <= room and counter.count(draft, num_items) <= room

    def _closest(self, sums: Integers, lowest: int) -> int:
        """Return how many items fit, going by these summed lengths."""
        fitting = int(sums.searchsorted(self.max_tokens - self._overhead, side="right")) - 1
        return min(max(fitting, lowest), len(sums) - 1)

    def _fill(self, draw: Callable[[int], Draft], draft: Draft, num_items: int) -> Draft:
        """Return the draft with the longest candidate that fits as its last item."""
        last = num_items - 1
        if last < len(draft.arrange(num_items).places):
            return draft
        if len(draft.contents) < num_items + CANDIDATES:
            draft = draw(num_items + CANDIDATES)
        # The same candidates in the same places whatever the capacity: a place may change a length by a token.
        assert not isinstance(draft.contents, Pieces)
        shortlist = replace(draft, contents=draft.contents[: num_items + CANDIDATES])
        lengths = np.diff(self.counter.sums(shortlist))[last:]
        room = self.max_tokens - self.counter.count(draft, num_items) + lengths[0]
        for candidate in np.argsort(-lengths, kind="stable").tolist():
            if lengths[candidate] <= room:
                filled = draft.exchange(last, last + candidate)
                # Its new number or neighbour may cost an extra token.
                if self.counter.count(filled, num_items) <= self.max_tokens:
                    return filled
        return draft

    def _crowded(self, draw: Callable[[int], Draft], sizes: range, fewest: int, needed: int) -> tuple[Draft, int]:
        """Fit fewer items than needles, so that needles share items: each number of items needs a draft of its own."""
        draft = draw(fewest)
        for fewest in sizes:
            draft = draw(fewest)
            needed = self.counter.count(draft, fewest)
            if needed <= self.max_tokens:
                return draft, fewest
        raise BudgetError(
            f"{self.name}={self.max_tokens}, but the smallest {draft.task} haystack ({fewest} items, "
            f"{len(draft.arrange(fewest).needles)} needles) needs {needed} with this tokenizer and chat template. "
            f"Raise {self.name} to at least {needed}.",
            needed,
        )
