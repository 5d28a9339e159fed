from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from needlework.errors import RecipeError
from needlework.tasks import TASKS, make_task
from needlework.tasks.draft import Arrangement, Draft
from needlework.tasks.mixture import Mixture
from needlework.tasks.protocol import make


@dataclass(frozen=True)
class Left:
    """A task that says what it was given."""

    size: int = 1

    def draft(
        self, rng: np.random.Generator, capacity: int, num_needles: int = 1, *, depths: Sequence[float] | None = None
    ) -> Draft:
        rows = [f"{self.size} {num_needles} {depths} {number}" for number in rng.random(capacity)]
        return Draft(type(self).__name__, "", rows, lambda num_items: Arrangement(num_items, (), ()))

    def min_items(self, num_needles: int) -> int:
        return self.size * num_needles


class Right(Left):
    """Another."""


@pytest.fixture(autouse=True)
def _tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "left", Left)
    monkeypatch.setitem(TASKS, "right", Right)


def mixture(parts: object) -> Mixture:
    task = make_task("mixture", {"parts": parts})
    assert isinstance(task, Mixture)
    return task


def drawn(task: Mixture, seed: int, capacity: int = 3) -> Draft:
    return task.draft(np.random.default_rng(seed), capacity, 2, depths=(0, 1))


def test_haystacks_are_drawn_in_proportion_to_the_weights() -> None:
    task = mixture({"left": 3, "right": 1})
    counts = Counter(drawn(task, seed).task for seed in range(2000))
    assert set(counts) == {"Left", "Right"}
    assert counts["Left"] / 2000 == pytest.approx(0.75, abs=0.03)


def test_only_the_proportion_of_weights_matters() -> None:
    one, other = mixture({"left": 3, "right": 1}), mixture({"left": 0.6, "right": {"weight": 0.2}})
    assert [drawn(one, seed).contents for seed in range(50)] == [drawn(other, seed).contents for seed in range(50)]


def test_a_part_gets_what_the_mixture_was_given_and_its_own_parameters() -> None:
    content = drawn(mixture({"left": {"params": {"size": 7}}}), 0).contents[0]
    assert isinstance(content, str)
    assert content.startswith("7 2 (0, 1) ")


def test_the_same_generator_state_draws_the_same_task_at_every_capacity() -> None:
    task = mixture({"left": 1, "right": 1})
    for seed in range(50):
        small, large = drawn(task, seed, 3), drawn(task, seed, 30)
        assert small.task == large.task
        assert small.contents == large.contents[:3]


def test_a_part_of_weight_0_is_never_drawn_and_asks_for_no_items() -> None:
    task = mixture({"left": 1, "right": {"weight": 0, "params": {"size": 9}}})
    assert {drawn(task, seed).task for seed in range(100)} == {"Left"}
    assert task.min_items(2) == 2


def test_the_fewest_items_are_enough_for_every_part() -> None:
    assert mixture({"left": {"params": {"size": 5}}, "right": 1}).min_items(8) == 40


def test_a_mixture_can_be_a_part() -> None:
    inner = {"weight": 1, "params": {"parts": {"right": 1}}}
    task = mixture({"left": 1, "mixture": inner})
    counts = Counter(drawn(task, seed).task for seed in range(100))
    assert set(counts) == {"Left", "Right"}


def test_without_parts_it_mixes_numbers_and_prose() -> None:
    haystacks = [make(Mixture(), np.random.default_rng(seed), 8, 8) for seed in range(20)]
    assert {haystack.task for haystack in haystacks} == {"simple_dict", "records"}
    assert all(len(haystack.needles) == 8 for haystack in haystacks)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"recods": 1}, r"no task 'recods'\. Did you mean 'records'\?"),
        ({"records": {"params": {"sibling": 1}}}, r"records has no parameter 'sibling'\. Did you mean 'siblings'\?"),
        ({"records": {"weigth": 1}}, "part records has no key 'weigth'; its keys are weight and params"),
        ({"records": -1}, "the weight of records is -1. Give a number, 0 or above"),
        ({"records": float("nan")}, "the weight of records is nan"),
        ({"records": float("inf")}, "the weight of records is inf"),
        ({"records": "much"}, "the weight of records is 'much'"),
        ({"records": True}, "the weight of records is True"),
        ({"records": {"params": 3}}, "params of records is 3"),
        ({"records": 0, "left": 0}, "none of its 2 parts has a weight above 0"),
        ({}, "none of its 0 parts"),
        (["records"], r"task mixture: parts is \['records'\]"),
    ],
)
def test_a_mistake_is_told_when_the_task_is_made(parts: object, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        mixture(parts)
