from __future__ import annotations

import pytest

from needlework.dataset.synthetic import SyntheticDataset
from needlework.errors import BudgetError
from needlework.models.chat import Renderer
from needlework.tasks import make_task


def dataset(renderer: Renderer, **changes: object) -> SyntheticDataset:
    options = {"size": 40, "num_needles": 4, "max_tokens": 700, "renderer": renderer, "seed": 3} | changes
    return SyntheticDataset(make_task("simple_dict"), **options)  # type: ignore[arg-type]


def test_a_sample_depends_on_seed_and_index_alone(renderer: Renderer) -> None:
    forwards, backwards = dataset(renderer), dataset(renderer, size=1000)
    expected = [forwards[index] for index in range(10)]
    assert [backwards[index] for index in reversed(range(10))] == expected[::-1]
    assert dataset(renderer, seed=4)[0] != expected[0]
    assert len({haystack.items for haystack in expected}) == 10


def test_held_out_haystacks_are_alike_and_none_of_the_samples(renderer: Renderer) -> None:
    data = dataset(renderer)
    same, held_out = data.hold_out(9)
    assert same is data
    assert len(held_out) == 3
    assert all(len(held_out[index].needles) == 4 for index in range(3))
    samples = {data[index].items for index in range(len(data))}
    assert not samples & {held_out[index].items for index in range(3)}


def test_all_samples_keep_the_budget(renderer: Renderer) -> None:
    data = dataset(renderer)
    assert max(renderer.count(data[index]) for index in range(len(data))) <= 700


def test_a_range_of_items_is_drawn_uniformly(renderer: Renderer) -> None:
    data = dataset(renderer, num_items=(3, 6), size=300)
    sizes = [len(data[index].items) for index in range(300)]
    assert set(sizes) == {3, 4, 5, 6}
    assert min(sizes.count(size) for size in (3, 4, 5, 6)) > 50


def test_items_that_exceed_the_budget_are_an_error_with_the_numbers(renderer: Renderer) -> None:
    with pytest.raises(BudgetError, match=r"sample 0 with 50 items needs \d+ tokens, but max_tokens=700"):
        dataset(renderer, num_items=(50, 50))[0]


def test_the_largest_sample_is_checked_beforehand(renderer: Renderer) -> None:
    assert len(dataset(renderer, num_items=(2, 6)).largest().items) == 6
    with pytest.raises(BudgetError, match="with 50 items"):
        dataset(renderer, num_items=(2, 50)).largest()


def test_a_budget_that_a_later_sample_exceeds_is_refused_beforehand_with_one_that_all_meet(renderer: Renderer) -> None:
    task = make_task("records")

    def records(max_tokens: int) -> SyntheticDataset:
        return SyntheticDataset(task, 60, 1, max_tokens, renderer)

    with pytest.raises(BudgetError) as of_first:
        records(10)[0]
    with pytest.raises(BudgetError) as of_all:
        records(of_first.value.needed).largest()
    needed = of_all.value.needed
    assert needed > of_first.value.needed
    assert f"Raise max_tokens to at least {needed}" in str(of_all.value)
    assert len(list(records(needed))) == 60
    assert records(needed).largest().items


def test_iteration_ends(renderer: Renderer) -> None:
    assert len(list(iter(dataset(renderer, size=3)))) == 3


def test_many_samples_are_those_made_one_by_one(renderer: Renderer) -> None:
    many = list(dataset(renderer).encoded_many(range(5, 40)))
    alone = dataset(renderer)
    for index, rows in zip(range(5, 40), many, strict=True):
        for row, other in zip(rows, alone.encoded(index), strict=True):
            assert (row.input_ids == other.input_ids).all()
            assert row.gold == other.gold


def test_indices_are_those_of_a_sequence(renderer: Renderer) -> None:
    data = dataset(renderer)
    assert data[-1] == data[39]
    assert data[2:8:3] == [data[2], data[5]]
    for index in (40, -41):
        with pytest.raises(IndexError):
            data[index]
    with pytest.raises(IndexError, match="there are 40 samples"):
        next(data.encoded_many([3, 40]))
