from __future__ import annotations

import pytest

from needlework.report import measure_charts
from needlework.report.drawing import interactive
from tests.report.conftest import value
from tests.report.test_charts import values

LOSSES = {"template": value(1.2, 0.1), "value digits": value(4.0, 0.5)}
HEADS = {f"L{layer}.H{head}": value(0.1, 0.1 * layer) for layer in range(3) for head in range(2)}


def test_values_are_a_line_each_with_the_interval_of_the_change() -> None:
    figure = measure_charts.measure("measure-loss", "Loss", ["before", "after"], [LOSSES])
    (spec,) = interactive(figure)
    found = {(each["row"], each["model"]): each for each in values(spec)}
    assert found["template", "before"]["value"] == found["template", "before"]["high"] == 1.2
    assert found["template", "after"]["value"] == 0.1
    assert found["template", "after"]["high"] == pytest.approx(0.2)
    assert figure.description == "Loss. template: 1.2 before, 0.1 after; value digits: 4 before, 0.5 after."


def test_attention_heads_are_a_map_before_after_and_of_the_change() -> None:
    figure = measure_charts.measure("measure-heads", "Heads", ["before", "after"], [HEADS])
    specs = interactive(figure)
    assert [spec["title"] for spec in specs] == [["before"], ["after"], ["change"]]
    cells = {(each["layer"], each["head"]): each["score"] for each in values(specs[2])}
    assert cells[2, 1] == pytest.approx(0.1)
    assert len(cells) == 6
    assert "Most changed: L0.H0 from 0.100 to 0.000" in figure.description


def test_one_value_that_is_no_head_makes_them_lines() -> None:
    assert measure_charts.are_heads([HEADS])
    assert not measure_charts.are_heads([HEADS, HEADS | {"mean": value(1, 2)}])


def test_a_table_of_many_values_holds_those_that_changed_most() -> None:
    assert [name for name, _ in measure_charts.ranked(HEADS, 2)] == ["L0.H0", "L0.H1"]
    assert list(dict(measure_charts.ranked(HEADS, 6))) == list(HEADS)


def test_more_runs_have_a_mark_and_a_map_each() -> None:
    labels, sides = ["base", "one", "two"], [LOSSES, {"template": value(1.2, 2.0)}]
    (spec,) = interactive(measure_charts.measure("measure-loss", "Loss", labels, sides))
    assert len(values(spec)) == 5
    heads = measure_charts.measure("measure-heads", "Heads", labels, [HEADS, HEADS])
    assert len(heads.panels) == 5
