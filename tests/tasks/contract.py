"""What every task on text promises, whatever its data: token budgets rely on it."""

from __future__ import annotations

from collections import Counter

import numpy as np

from needlework.haystack import Haystack
from needlework.tasks.draft import Draft
from needlework.tasks.protocol import Task, make


def made(task: Task, num_items: int = 30, num_needles: int = 4, seed: int = 0) -> Haystack:
    return make(task, np.random.default_rng(seed), num_items, num_needles)


def assert_keeps_the_contract(task: Task, num_needles: int = 4) -> None:
    """Check that drafts agree, hold their gold items in the first rows, and grow by an item at a time."""
    for seed in range(5):
        small, large = (task.draft(np.random.default_rng(seed), capacity, num_needles) for capacity in (20, 33))
        assert list(small.contents) == list(large.contents)[:20]
        assert len(set(large.contents)) == 33
        assert small.haystack(20, "x") == large.haystack(20, "x")
        for num_items in range(task.min_items(num_needles), 34):
            _assert_holds_the_first_rows(large, num_items)


def _assert_holds_the_first_rows(draft: Draft, num_items: int) -> None:
    contents, haystack = list(draft.contents), draft.haystack(num_items, "0")
    rows = [next(row for row, content in enumerate(contents) if content in item) for item in haystack.items]
    assert Counter(rows) == Counter(range(num_items))
    # Needle k asks about row k, wherever that stands.
    assert [rows[needle.position] for needle in haystack.needles] == list(range(len(haystack.needles)))
