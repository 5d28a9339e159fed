from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from needlework.benchmark_settings import KV
from needlework.benchmarks import Benchmark, Fit, kv, uuids
from needlework.errors import UserError
from needlework.models.chat import Renderer
from tests.benchmarks.official_files import pair_rows, write_rows


def build(fit: Fit, seed: int = 0) -> Benchmark:
    settings = KV(task="uuid", lengths=(900, 1500), depths=(0.0, 0.5, 1.0), haystacks=3)
    return kv.build(settings, seed=seed, fit=fit)


def test_the_prompt_is_the_official_one(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "kv.jsonl.gz", pair_rows(1, 3))
    benchmark = uuids.from_file(path, (0.5,), 1, 0)
    haystack = benchmark.haystacks[0]
    # As lost-in-the-middle's own test of `get_kv_retrieval_prompt` has it.
    assert haystack.message(haystack.needles[0]) == "\n".join(
        [
            "Extract the value corresponding to the specified key in the JSON object below.",
            "",
            "JSON data:",
            '{"key-0-0": "value-0-0",',
            ' "key-0-1": "value-0-1",',
            ' "key-0-2": "value-0-2"}',
            "",
            'Key: "key-0-1"',
            "Corresponding value:",
        ]
    )


def test_a_row_is_asked_with_its_pair_moved_to_each_depth(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "kv.jsonl.gz", pair_rows(4, 5))
    benchmark = uuids.from_file(path, (0.0, 0.5, 1.0), 2, 0)
    assert len(benchmark.haystacks) == 6
    for number, haystack in enumerate(benchmark.haystacks):
        (needle,) = haystack.needles
        assert needle.position == (0, 2, 4)[number % 3]
        assert needle.answer in haystack.items[needle.position]
        assert benchmark.places is not None
        assert benchmark.places[needle.id] == ("0%", "50%", "100%")[number % 3]
        # The others keep their order, as when the official script takes the pair out and puts it in again.
        others = [index for item in haystack.items if (index := item.split('"')[1][-1]) != "2"]
        assert others == ["0", "1", "3", "4"]
    assert len({needle.group for each in benchmark.haystacks for needle in each.needles}) == 2


def test_the_rows_of_a_file_are_drawn_by_seed(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "kv.jsonl.gz", pair_rows(20, 3))
    groups = [
        [each.needles[0].group for each in uuids.from_file(path, (0.0,), 5, seed).haystacks] for seed in (0, 0, 1)
    ]
    assert groups[0] == groups[1] != groups[2]
    assert groups[0] != [f"kv/{line}" for line in range(1, 6)]


def test_more_rows_than_a_file_has_is_an_error(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "kv.jsonl.gz", pair_rows(4, 3))
    with pytest.raises(UserError, match="has 4 rows, fewer than the 5 haystacks"):
        uuids.from_file(path, (0.0,), 5, 0)


def test_drawn_haystacks_are_json_objects_filled_to_a_length(fit: Fit, renderer: Renderer) -> None:
    benchmark = build(fit)
    for haystack in benchmark.haystacks:
        pairs = json.loads("\n".join(haystack.items).removeprefix("JSON data:\n"))
        assert len(pairs) == len(haystack.items)
        for needle, depth in zip(haystack.needles, (0.0, 0.5, 1.0), strict=True):
            assert needle.position == round(depth * (len(pairs) - 1))
            key = needle.question.split('"')[1]
            assert list(pairs).index(key) == needle.position
            assert pairs[key] == needle.answer
        longest = len(renderer.encode([haystack.items[1]])[0])
        assert haystack.meta["length"] - longest - 1 <= renderer.count(haystack) <= haystack.meta["length"]


def test_drawn_haystacks_depend_on_the_seed_alone(fit: Fit) -> None:
    assert build(fit).haystacks == build(fit).haystacks
    assert build(fit).haystacks != build(fit, seed=1).haystacks


def test_a_larger_draft_begins_with_the_smaller() -> None:
    small, large = (uuids.Uuids().draft(np.random.default_rng(0), size, 1, depths=(0.0,)) for size in (4, 40))
    assert list(large.contents)[:4] == list(small.contents)


def test_the_value_counts_wherever_the_output_has_it(fit: Fit) -> None:
    needle = build(fit).haystacks[0].needles[0]
    assert uuids.score(needle, f"Sure!\nIt is {needle.answer.upper()}.") == {"value": True}
    assert uuids.score(needle, needle.answer[:-1]) == {"value": False}
