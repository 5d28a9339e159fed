from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from needlework.benchmark_settings import KV
from needlework.benchmarks import Benchmark, Fit, kv
from needlework.errors import BudgetError
from needlework.haystack import Needle
from needlework.models.chat import Renderer
from tests.benchmarks.official_files import pair_rows, write_rows

NEEDLE = Needle("a", "a", "?", "The value of key 9205 is 9318 and it is in Dictionary [2].", ("9318",), 1)


SUBKEYS = Needle(
    *("b", "b", "?"),
    "The key that contains the integers 616, 141, 623 is (141, 623, 616). "
    "Its value is 5617 and it is in Dictionary [6].",
    ("5617",),
    5,
)


def build(fit: Fit, seed: int = 0, **changes: Any) -> Benchmark:
    options = {"task": "simple_dict", "lengths": (500, 900), "depths": (0.0, 0.5, 1.0), "haystacks": 4}
    return kv.build(KV(**(options | changes)), seed=seed, fit=fit)


@pytest.mark.parametrize("task", ["simple_dict", "multi_subkey"])
def test_each_haystack_is_asked_once_at_every_depth(fit: Fit, renderer: Renderer, task: str) -> None:
    benchmark = build(fit, task=task)
    assert len(benchmark.haystacks) == 8
    for haystack in benchmark.haystacks:
        last = len(haystack.items) - 1
        assert [needle.position for needle in haystack.needles] == [0, round(last / 2), last]
        assert benchmark.places is not None
        assert [benchmark.places[needle.id] for needle in haystack.needles] == ["0%", "50%", "100%"]
        assert haystack.task == task
        assert haystack.meta["length"] - 80 < renderer.count(haystack) <= haystack.meta["length"]


def test_it_depends_on_the_seed_alone(fit: Fit) -> None:
    assert build(fit).haystacks == build(fit).haystacks
    assert build(fit).haystacks != build(fit, seed=1).haystacks


def test_a_length_that_is_too_small_is_an_error(fit: Fit) -> None:
    with pytest.raises(BudgetError, match="lengths=50"):
        build(fit, lengths=(50,))


def test_a_file_takes_the_place_of_a_task(fit: Fit, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "kv.jsonl.gz", pair_rows(4, 5))
    assert {each.task for each in build(fit, file=path).haystacks} == {"uuid"}


@pytest.mark.parametrize(
    ("output", "value", "whole"),
    [
        (NEEDLE.answer, True, True),
        ("9318, in Dictionary [2]", True, True),
        ("The value of key 9205 is 9318 and it is in Dictionary [3].", True, False),
        ("The value of key 9205 is 931 and it is in Dictionary [2].", False, False),
        ("9205: 9318", True, False),
        ("The value of key 9,205 is 9,318 and it is in Dictionary [2].", True, True),
        ("{9205:9318,4548:1475}", True, False),  # no thousands separator
        ("{4548: 1475, 9205: 9318}", False, False),  # a listing finds nothing by accident
        ("Dictionary [2] {9205: 9318, 4548: 1475}", False, False),  # nor does the first dictionary, copied
        ("Dictionary [2] has 9205: 9318", False, False),  # which cannot be told from this
        ("The value of key 9205 in Dictionary [2] is 9318.", True, True),
        ("Key 9205 is in dictionary 3 and its value is 9,318.", True, False),
        ("9205: Dictionary [2]", False, False),
        ("I do not know.", False, False),
        ("9205", False, False),
    ],
)
def test_the_first_numbers_after_the_key_count(output: str, value: bool, whole: bool) -> None:
    assert kv.score(NEEDLE, output) == {"value": value, "whole": whole}


@pytest.mark.parametrize(
    ("output", "value", "whole"),
    [
        (SUBKEYS.answer, True, True),
        ("(141, 623, 616): 5617, Dictionary [6]", True, True),
        ("The key is (141, 623, 616), in Dictionary [6], with the value 5617.", True, True),
        (SUBKEYS.answer.replace("(141, 623, 616)", "(616, 141, 623)"), True, False),  # the key is in another order
        (SUBKEYS.answer.replace("[6]", "[5]"), True, False),
        (SUBKEYS.answer.replace("5617", "5618"), False, False),
        ("5617", True, False),
        ("{(141, 623, 999): 1234, (141, 623, 616): 5617}", False, False),  # a listing finds nothing by accident
        ("616, 141, 623", False, False),
        ("", False, False),
    ],
)
def test_the_first_numbers_after_the_subkeys_count(output: str, value: bool, whole: bool) -> None:
    assert kv.score_subkeys(SUBKEYS, output) == {"value": value, "whole": whole}
