from __future__ import annotations

import numpy as np
import pytest

from needlework.dataset.sized import Sized, compose, look_up
from needlework.dataset.table import Table
from needlework.models.chat import Renderer
from needlework.tasks import make_task

NAMES = ("simple_dict", "multi_subkey", "near_duplicates", "same_key", "collect", "chain", "absent")


def sized(renderer: Renderer, task: str, needles: int = 3) -> list[Sized]:
    drafts = [make_task(task).draft(np.random.default_rng(seed), 40, needles) for seed in range(5)]
    return look_up(drafts, Table(drafts[0], renderer))


@pytest.mark.parametrize("task", NAMES)
def test_drafts_that_are_put_together_have_the_rows_of_each_alone(task: str, renderer: Renderer) -> None:
    some = [(each, 20 + number) for number, each in enumerate(sized(renderer, task))]
    for (each, num_items), rows in zip(some, compose(some), strict=True):
        (alone,) = compose([(each, num_items)])
        assert [row.gold for row in rows] == [row.gold for row in alone]
        for one, other in zip(rows, alone, strict=True):
            assert one.input_ids.tolist() == other.input_ids.tolist()
            assert one.labels.tolist() == other.labels.tolist()
        assert max(len(row.input_ids) for row in rows) == each.count(num_items)


@pytest.mark.parametrize("task", NAMES)
def test_no_size_has_fewer_tokens_than_another_lets_expect(task: str, renderer: Renderer) -> None:
    for each in sized(renderer, task):
        assert each.least(30) == 0
        each.count(30)
        for num_items in range(12, 41):
            assert 0 < each.least(num_items) <= each.count(num_items)
