from __future__ import annotations

import numpy as np
import pytest

from needlework.tasks import TASKS, make_task
from needlework.tasks.protocol import drafts, make


@pytest.mark.parametrize("name", TASKS)
def test_a_draft_of_more_items_agrees_with_the_smaller_one(name: str) -> None:
    task = make_task(name)
    few, many = (task.draft(np.random.default_rng(4), capacity, 2) for capacity in (9, 14))
    assert few.haystack(8, "0") == many.haystack(8, "0")


@pytest.mark.parametrize("name", TASKS)
def test_the_same_generator_state_gives_the_same_haystack_and_another_another(name: str) -> None:
    task = make_task(name)
    first, same, other = (make(task, np.random.default_rng(seed), 9, 2) for seed in (1, 1, 2))
    assert first == same
    assert first.items != other.items


@pytest.mark.parametrize("name", TASKS)
def test_given_depths_place_the_needles(name: str) -> None:
    haystack = make(make_task(name), np.random.default_rng(0), 21, 3, depths=(0, 0.5, 1))
    assert [needle.position for needle in haystack.needles] == [0, 10, 20]


@pytest.mark.parametrize("name", TASKS)
def test_many_drafts_are_those_drawn_one_by_one(name: str) -> None:
    task = make_task(name)
    capacity = task.min_items(2) + 9
    together = drafts(task, [np.random.default_rng(seed) for seed in range(4)], capacity, 2)
    for seed, draft in enumerate(together):
        alone = task.draft(np.random.default_rng(seed), capacity, 2)
        assert draft.haystack(capacity, "0") == alone.haystack(capacity, "0")
