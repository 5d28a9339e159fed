from __future__ import annotations

from collections.abc import Callable

import pytest

from needlework.benchmarks import Benchmark, kv
from needlework.dataset.budget import Budget, PlainCounter
from needlework.errors import BudgetError
from needlework.haystack import Needle
from needlework.models.chat import Renderer
from needlework.tasks.draft import Draft

NEEDLE = Needle("a", "a", "?", "The value of key 9205 is 9318 and it is in Dictionary [2].", ("9318",), 1)


def build(renderer: Renderer, **changes: object) -> Benchmark:
    def fitted(draw: Callable[[int], Draft], max_tokens: int, needles: int) -> tuple[Draft, int]:
        return Budget(max_tokens, PlainCounter(renderer)).fit(draw, min_items=needles, num_needles=needles)

    options = {"lengths": (500, 900), "depths": (0.0, 0.5, 1.0), "haystacks": 4, "template": True, "seed": 0}
    return kv.build(**(options | changes), fit=fitted)  # type: ignore[arg-type]


def test_each_haystack_is_asked_once_at_every_depth(renderer: Renderer) -> None:
    benchmark = build(renderer)
    assert len(benchmark.haystacks) == 8
    for haystack in benchmark.haystacks:
        last = len(haystack.items) - 1
        assert [needle.position for needle in haystack.needles] == [0, round(last / 2), last]
        assert benchmark.places is not None
        assert [benchmark.places[needle.id] for needle in haystack.needles] == ["0%", "50%", "100%"]
        assert haystack.meta["length"] - 60 < renderer.count(haystack) <= haystack.meta["length"]


def test_it_depends_on_the_seed_alone(renderer: Renderer) -> None:
    assert build(renderer).haystacks == build(renderer).haystacks
    assert build(renderer).haystacks != build(renderer, seed=1).haystacks


def test_a_length_that_is_too_small_is_an_error(renderer: Renderer) -> None:
    with pytest.raises(BudgetError, match="max_tokens=50"):
        build(renderer, lengths=(50,))


@pytest.mark.parametrize(
    ("output", "value", "whole"),
    [
        (NEEDLE.answer, True, True),
        ("9318, in Dictionary [2]", True, True),
        ("The value of key 9205 is 9318 and it is in Dictionary [3].", True, False),
        ("The value of key 9205 is 931 and it is in Dictionary [2].", False, False),
        ("9205: 9318", True, False),
        ("{4548: 1475, 9205: 9318}", False, False),  # a listing finds nothing by accident
        ("I do not know.", False, False),
        ("9205", False, False),
    ],
)
def test_the_first_numbers_after_the_key_count(output: str, value: bool, whole: bool) -> None:
    assert kv.score(NEEDLE, output) == {"value": value, "whole": whole}
