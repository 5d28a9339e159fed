from __future__ import annotations

import json
from typing import Any

import pytest

from needlework.report import charts
from needlework.report.drawing import Figure, interactive
from tests.report.conftest import demo, gain

BENCHMARKS = demo()["benchmarks"]


def values(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [value for data in spec["datasets"].values() for value in data]


def position_chart() -> Figure:
    kv = BENCHMARKS["kv"]
    return charts.positions("positions-kv", kv["title"], rates(kv["by_position"]), "Depth")


def rates(*tables: dict[str, Any]) -> charts.Rates:
    return charts.rates(["before", "after", "later"][: len(tables) + 1], tables)


def test_a_position_chart_shows_every_rate_with_its_interval() -> None:
    (spec,) = interactive(position_chart())
    shown = [value for value in values(spec) if value["place"] == "25%"]
    assert {value["model"]: value["accuracy"] for value in shown} == {"before": 0.025, "after": 0.99}
    assert all(value["low"] <= value["accuracy"] <= value["high"] for value in shown)


def test_positions_are_in_order_of_their_numbers_whatever_the_file_says() -> None:
    rows = {place: gain(0.1, 0.2) for place in ("10", "1", "5")}
    figure = charts.positions("positions-mdqa", "QA", rates(rows), "Position")
    assert figure.description.index("1:") < figure.description.index("5:") < figure.description.index("10:")


def test_positions_that_are_no_numbers_keep_their_order() -> None:
    rows = {place: gain(0.1, 0.2) for place in ("start", "middle", "end")}
    said = charts.positions("positions-x", "QA", rates(rows), "Position").description
    assert said.index("start") < said.index("middle") < said.index("end")


def test_every_chart_says_its_numbers_in_words() -> None:
    assert "25%: 2% before, 99% after" in position_chart().description
    heat = charts.heat_map("map-kv", "Retrieval", ["before", "after"], [BENCHMARKS["kv"]["by_length_and_position"]])
    assert "0% of 512 tokens: 9% before, 100% after (+91.0 points)" in heat.description
    assert "lost 14" in charts.kept("kept-knowledge", "Knowledge", {"after": {"lost": 14, "gained": 9}}).description


def test_a_heat_map_leaves_out_a_cell_that_was_not_measured() -> None:
    rows = {"512": {"0%": gain(0.1, 0.9), "100%": gain(0.1, 0.9)}, "1024": {"0%": gain(0.1, 0.9)}}
    specs = interactive(charts.heat_map("map-kv", "Retrieval", ["before", "after"], [rows]))
    assert [len(values(spec)) for spec in specs] == [3, 3, 3]


@pytest.mark.parametrize("count", [1, 2, 499, 500, 501, 20_000])
def test_a_training_curve_has_first_and_last_step_and_at_most_some_hundred(count: int) -> None:
    steps = [{"step": i, "loss": 1.0, "answer_accuracy": 0.5} for i in range(1, count + 1)]
    spec = interactive(charts.training("training", steps))[0]
    shown = [value["step"] for value in values(spec)]
    assert (shown[0], shown[-1]) == (1, count)
    assert shown == sorted(set(shown))
    assert len(shown) <= 501


def test_a_position_chart_has_a_line_for_each_run_and_the_first_run_once() -> None:
    rows, fewer = {"1": gain(0.1, 0.2), "5": gain(0.1, 0.3)}, {"5": gain(0.1, 0.4)}
    figure = charts.positions("positions-mdqa", "QA", rates(rows, fewer), "Position")
    (spec,) = interactive(figure)
    shown = {(value["model"], value["place"]): value["accuracy"] for value in values(spec)}
    assert shown == {("before", "1"): 0.1, ("before", "5"): 0.1, ("after", "1"): 0.2, ("after", "5"): 0.3,
                     ("later", "5"): 0.4}  # fmt: skip
    assert "5: 10% before, 30% after, 40% later" in figure.description


def test_heat_maps_are_of_each_run_and_then_of_what_changed() -> None:
    rows = {"512": {"0%": gain(0.1, 0.9)}}
    figure = charts.heat_map("map-kv", "Retrieval", ["base", "one", "two"], [rows, rows])
    titles = [" ".join(spec["title"]) for spec in interactive(figure)]
    assert titles == ["base", "one", "two", "change, one", "change, two"]
    assert values(interactive(figure)[-1])[0]["value"] == pytest.approx(0.8)


def test_a_run_that_was_not_asked_has_no_map_and_hides_none_of_the_first() -> None:
    rows, fewer = {"512": {"0%": gain(0.1, 0.9)}}, {"512": {"0%": gain(0.7, 0.9, 10)}}
    figure = charts.heat_map("map-kv", "Retrieval", ["base", "none", "few", "all"], [{}, fewer, rows])
    specs = interactive(figure)
    assert [" ".join(spec["title"]) for spec in specs] == ["base", "few", "all", "change, few", "change, all"]
    # Of the first run's rates, that over the most needles.
    assert values(specs[0]) == [{"length": "512", "place": "0%", "value": 0.1}]


def test_questions_kept_are_counted_for_each_run() -> None:
    figure = charts.kept("kept-x", "Knowledge", {"one": {"lost": 14}, "two": {"lost": 3}})
    assert figure.description == "Knowledge: questions kept and lost: one: lost 14; two: lost 3."
    assert len(figure.panels) == 2


def test_all_benchmarks_of_all_runs_are_one_chart() -> None:
    figure = charts.all_rates("all", rates({"QA": gain(0.1, 0.2), "KV": gain(0.3, 0.9)}))
    (spec,) = interactive(figure)
    assert {(value["row"], value["model"]) for value in values(spec)} == {
        (row, model) for row in ("QA", "KV") for model in ("before", "after")
    }
    assert figure.description == "QA: 10% before, 20% after; KV: 30% before, 90% after."


def test_long_names_and_titles_take_several_lines() -> None:
    label, title = "org/a-model-with-a-long-name (finetuned)", "Key-value retrieval, value and dictionary"
    found = charts.rates(["base", label], [{title: gain(0.1, 0.2)}])
    drawn = json.dumps(interactive(charts.all_rates("all", found))).replace('\\"', '"')
    assert '["org/a-model-with-a-long-", "name (finetuned)"]' in drawn
    assert '["Key-value retrieval,", "value and dictionary"]' in drawn
