from __future__ import annotations

import io
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import ttest_1samp, ttest_rel

from needlework.errors import DataError
from needlework.report.measures import compare, most, printed, table


def evaluation(folder: Path, values: list[dict[str, float]], name: str = "loss") -> Path:
    folder.mkdir(exist_ok=True)
    lines = [
        json.dumps({"id": f"i{index}", "group": f"g{index // 2}", "values": each}) for index, each in enumerate(values)
    ]
    (folder / f"measures-{name}.jsonl").write_text("".join(line + "\n" for line in lines))
    return folder


def test_each_value_has_its_row(tmp_path: Path) -> None:
    before = evaluation(tmp_path / "b", [{"key": 1.0, "value": 2.0}] * 4 + [{"key": 1.0}] * 4)
    after = evaluation(tmp_path / "a", [{"key": 0.5, "value": 2.5}] * 4 + [{"key": 0.3}] * 4)
    found = compare(before, after)["loss"]
    assert (found["key"]["n"], found["key"]["clusters"], found["value"]["n"]) == (8, 4, 4)
    assert (found["key"]["before"], found["key"]["after"], found["key"]["change"]) == (1.0, 0.4, -0.6)
    assert found["key"]["low"] < -0.6 < found["key"]["high"] < 0
    assert (found["key"]["p"], found["value"]["p"]) == (2 / 2**4, 2 / 2**2)


def test_only_what_both_measured_is_compared(tmp_path: Path) -> None:
    before = evaluation(tmp_path / "b", [{"key": 1.0}] * 4)
    after = evaluation(evaluation(tmp_path / "a", [{"key": 1.0}] * 4), [{"kl": 1.0}] * 4, "drift")
    assert list(compare(before, after)) == ["loss"]


def test_other_texts_or_values_are_refused(tmp_path: Path) -> None:
    before = evaluation(tmp_path / "b", [{"key": 1.0}] * 4)
    with pytest.raises(DataError, match="loss was measured on different texts"):
        compare(before, evaluation(tmp_path / "a", [{"key": 1.0}] * 5))
    with pytest.raises(DataError, match="loss was measured on different texts"):
        compare(before, evaluation(tmp_path / "a", [{"value": 1.0}] * 4))


def test_the_same_ids_of_another_seed_are_refused(tmp_path: Path) -> None:
    before, after = (evaluation(tmp_path / name, [{"key": 1.0}] * 4) for name in ("b", "a"))
    for seed, folder in enumerate((before, after)):
        (folder / "settings.json").write_text(json.dumps({"benchmarks": {"loss": {"haystacks": 2}}, "seed": seed}))
    with pytest.raises(
        DataError, match=r"loss was asked differently in .*: seed is 0 in the first and 1 in the second"
    ):
        compare(before, after)


def test_a_malformed_line_is_named(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "b", [{"key": 1.0}] * 4)
    path = folder / "measures-loss.jsonl"
    path.write_text(path.read_text().replace('"group": "g1"', '"grp": 1'))
    with pytest.raises(DataError, match=r"measures-loss\.jsonl, line 3: not a measurement"):
        compare(folder, folder)
    path.write_bytes(b"\xff\n")
    with pytest.raises(DataError, match=r"measures-loss\.jsonl, line 1: not a measurement"):
        compare(folder, folder)


def test_a_number_that_is_not_finite_is_named(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "b", [{"key": 1.0}, {"key": float("nan")}])
    with pytest.raises(DataError, match=r"measures-loss\.jsonl, line 2: not a measurement with id, group and finite"):
        compare(folder, folder)


@pytest.mark.parametrize("clusters", [2, 5])
def test_so_few_clusters_as_show_nothing_have_an_interval_at_least_as_wide_as_ts(clusters: int) -> None:
    values = np.linspace(0.5, 1.0, clusters)[:, None]
    (found,) = table(np.zeros_like(values), values, [f"g{each}" for each in range(clusters)])
    expected = ttest_1samp(values[:, 0], 0).confidence_interval()
    assert found["low"] <= expected.low + 1e-6
    assert found["high"] >= expected.high - 1e-6


def test_one_cluster_gives_no_interval() -> None:
    with pytest.raises(DataError, match="at least 2 articles or haystacks"):
        table(np.zeros((3, 1)), np.ones((3, 1)), ["g"] * 3)


def test_up_to_sixteen_clusters_p_counts_all_sign_patterns() -> None:
    changes = np.random.default_rng(0).normal(0.3, 1, (10, 1))
    patterns = list(itertools.product((1, -1), repeat=10))
    far = sum(abs(np.dot(signs, changes[:, 0])) >= abs(changes.sum()) - 1e-12 for signs in patterns)
    (row,) = table(np.zeros((10, 1)), changes, [str(index) for index in range(10)])
    assert row["p"] == pytest.approx(far / 2**10, abs=1e-6)


def test_with_many_clusters_interval_and_p_are_nearly_those_of_the_paired_t_test() -> None:
    rng = np.random.default_rng(2)
    before = rng.normal(2, 1, (200, 2))
    after = before + rng.normal([0.1, 0.0], 0.7, (200, 2))
    rows = table(before, after, [str(index) for index in range(200)])
    for value, row in enumerate(rows):
        expected = ttest_rel(after[:, value], before[:, value])
        span = expected.confidence_interval(0.95)
        assert (row["low"], row["high"]) == pytest.approx((span.low, span.high), abs=0.01)
        assert row["p"] == pytest.approx(expected.pvalue, abs=0.015)


def test_copies_of_a_measurement_do_not_narrow_the_interval() -> None:
    changes = np.random.default_rng(3).normal(0, 1, (20, 1))
    (single,) = table(np.zeros((20, 1)), changes, [str(index) for index in range(20)])
    (copied,) = table(np.zeros((100, 1)), np.repeat(changes, 5, axis=0), [str(index // 5) for index in range(100)])
    assert [copied[each] for each in ("low", "high", "p")] == [single[each] for each in ("low", "high", "p")]


@pytest.mark.parametrize("clusters", [12, 40])
def test_intervals_cover_the_truth_and_false_alarms_are_five_per_cent(clusters: int) -> None:
    # 600 trials at once, a value each; what is measured in one cluster moves together.
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(clusters), 3)
    changes = rng.normal(0, 1, (clusters, 600))[groups] + rng.normal(0, 1, (len(groups), 600))
    rows = table(np.zeros_like(changes), changes, [str(group) for group in groups])
    assert 0.93 <= np.mean([row["low"] <= 0 <= row["high"] for row in rows]) <= 0.97
    assert 0.03 <= np.mean([row["p"] <= 0.05 for row in rows]) <= 0.07


def test_the_largest_of_many_values_are_said() -> None:
    assert most({"key": 0.5, "value": 1.23456}) == "key 0.5, value 1.235"
    said = most({f"L0.H{head}": head / 10 for head in range(12)})
    assert said.startswith("L0.H11 1.1, L0.H10 1,")
    assert said.endswith("L0.H2 0.2, and 2 lower")


def test_of_many_values_those_that_changed_most_are_printed(tmp_path: Path) -> None:
    before = evaluation(tmp_path / "b", [{f"L0.H{head}": 0.0 for head in range(12)}] * 4)
    after = evaluation(tmp_path / "a", [{f"L0.H{head}": -head / 10 for head in range(12)}] * 4)
    console = Console(record=True, width=100, file=io.StringIO())
    console.print(printed(compare(before, after)))
    lines = [line.split() for line in console.export_text().splitlines()]
    assert ["L0.H11", "4", "2", "0", *["\u22121.1"] * 3, "to", "\u22121.1", "0.5"] in lines
    assert ["2", "more"] in lines
    assert not [line for line in lines if line[:1] == ["L0.H1"]]
