"""Exact token budgets: how many items of a draft fit, counted as the model will see them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from needlework.errors import BudgetError
from needlework.models.chat import Renderer
from needlework.tasks.draft import Draft, Integers


class Counter(Protocol):
    """Counts the tokens of a draft."""

    def lengths(self, draft: Draft) -> Integers:
        """Return about how many tokens each row of the contents adds, [capacity]."""

    def count(self, draft: Draft, num_items: int) -> int:
        """Return exactly how many tokens the longest prompt of `num_items` items and its answer have."""


class PlainCounter:
    """Counts by tokenizing the rendered text."""

    def __init__(self, renderer: Renderer) -> None:
        self.renderer = renderer

    def lengths(self, draft: Draft) -> Integers:
        """Tokenize each item by itself: its neighbours may change a token or two."""
        items = draft.haystack(len(draft.contents), "").items
        # Items of an arrangement stand in another order than the rows.
        rows = np.empty(len(items), dtype=np.int64)
        rows[draft.arrange(len(items)).order] = [len(ids) for ids in self.renderer.encode([f"{x}\n" for x in items])]
        return rows

    def count(self, draft: Draft, num_items: int) -> int:
        """Tokenize every prompt with its answer."""
        return self.renderer.count(draft.haystack(num_items, ""))


def fit(
    draw: Callable[[int], Draft],
    *,
    max_tokens: int,
    min_items: int,
    num_needles: int,
    counter: Counter,
    guess: int = 32,
) -> tuple[Draft, int]:
    """Return a draft and the largest number of its items whose longest prompt and answer fit `max_tokens`.

    The lengths of the items, summed up, say how many should fit; exact counts decide. So the budget is
    filled to within one item: with one item more it would be exceeded.

    Args:
        draw: From a capacity to a draft. Drafts of `num_needles` items and more agree in the rows both have.
        max_tokens: Upper bound of prompt and answer, counted with the chat template.
        min_items: The fewest items the task can have.
        num_needles: Needles in the haystack.
        counter: Counts with the model's own tokenizer and template.
        guess: Capacity to begin with; the result does not depend on it.

    Raises:
        BudgetError: If not even the smallest haystack fits; names the smallest budget that would do.
    """
    lowest = max(min_items, num_needles)
    capacity = max(guess, lowest + 1)
    while True:
        draft = draw(capacity)
        sums = np.cumsum(counter.lengths(draft))
        smallest = counter.count(draft, lowest)
        if smallest > max_tokens:
            return _crowded(draw, range(lowest - 1, min_items - 1, -1), max_tokens, smallest, counter)
        # Rows 0 .. n - 1 take sums[n - 1] tokens, so n items take this much more than the lowest number.
        room = max_tokens - smallest + sums[lowest - 1]
        if room < sums[-1]:
            break
        capacity += int((room - sums[-1]) * capacity / sums[-1]) + 4
    num_items = max(lowest, int(np.searchsorted(sums, room, side="right")))
    while num_items > lowest and counter.count(draft, num_items) > max_tokens:
        num_items -= 1
    while num_items < capacity and counter.count(draft, num_items + 1) <= max_tokens:
        num_items += 1
    # Only where items are much shorter among others than alone can a whole draft have been too few.
    if num_items == capacity:
        return fit(
            draw,
            max_tokens=max_tokens,
            min_items=min_items,
            num_needles=num_needles,
            counter=counter,
            guess=2 * capacity,
        )
    return draft, num_items


def _crowded(
    draw: Callable[[int], Draft], sizes: range, max_tokens: int, smallest: int, counter: Counter
) -> tuple[Draft, int]:
    """Fit fewer items than needles, which share items then: each number of items is a draft of its own."""
    fewest, needed = sizes.start + 1, smallest
    for num_items in sizes:
        draft = draw(num_items)
        fewest, needed = num_items, counter.count(draft, num_items)
        if needed <= max_tokens:
            return draft, num_items
    task, needles = (draft := draw(fewest)).task, len(draft.arrange(fewest).needles)
    raise BudgetError(
        f"max_tokens={max_tokens}, but the smallest {task} haystack ({fewest} items, {needles} needles) needs "
        f"{needed} with this tokenizer and chat template. Raise max_tokens to at least {needed}."
    )
