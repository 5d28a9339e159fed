from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from needlework.report import charts
from tests.report.conftest import demo, gain

BENCHMARKS = demo()["benchmarks"]


def values(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [value for data in spec["datasets"].values() for value in data]


def position_chart() -> charts.Figure:
    kv = BENCHMARKS["kv"]
    return charts.positions("positions-kv", kv["title"], kv["by_position"], "Depth")


def test_a_position_chart_shows_every_rate_with_its_interval() -> None:
    (spec,) = charts.interactive(position_chart())
    shown = [value for value in values(spec) if value["place"] == "25%"]
    assert {value["model"]: value["accuracy"] for value in shown} == {"before": 0.025, "after": 0.99}
    assert all(value["low"] <= value["accuracy"] <= value["high"] for value in shown)


def test_positions_are_in_order_of_their_numbers_whatever_the_file_says() -> None:
    rows = {place: gain(0.1, 0.2) for place in ("10", "1", "5")}
    figure = charts.positions("positions-mdqa", "QA", rows, "Position")
    assert figure.description.index("1:") < figure.description.index("5:") < figure.description.index("10:")


def test_positions_that_are_no_numbers_keep_their_order() -> None:
    rows = {place: gain(0.1, 0.2) for place in ("start", "middle", "end")}
    said = charts.positions("positions-x", "QA", rows, "Position").description
    assert said.index("start") < said.index("middle") < said.index("end")


def test_every_chart_says_its_numbers_in_words() -> None:
    assert "25%: 2% before, 99% after" in position_chart().description
    heat = charts.heat_map("map-kv", "Retrieval", BENCHMARKS["kv"]["by_length_and_position"])
    assert "0% of 512 tokens: 9% before, 100% after" in heat.description
    assert "lost 14" in charts.kept("kept-knowledge", "Knowledge", {"lost": 14, "gained": 9}).description


def test_a_heat_map_leaves_out_a_cell_that_was_not_measured() -> None:
    rows = {"512": {"0%": gain(0.1, 0.9), "100%": gain(0.1, 0.9)}, "1024": {"0%": gain(0.1, 0.9)}}
    specs = charts.interactive(charts.heat_map("map-kv", "Retrieval", rows))
    assert [len(values(spec)) for spec in specs] == [3, 3]


@pytest.mark.parametrize("count", [1, 2, 499, 500, 501, 20_000])
def test_a_training_curve_has_first_and_last_step_and_at_most_some_hundred(count: int) -> None:
    steps = [{"step": i, "loss": 1.0, "answer_accuracy": 0.5} for i in range(1, count + 1)]
    spec = charts.interactive(charts.training("training", steps))[0]
    shown = [value["step"] for value in values(spec)]
    assert (shown[0], shown[-1]) == (1, count)
    assert shown == sorted(set(shown))
    assert len(shown) <= 501


def test_a_chart_on_the_page_fills_its_container_and_has_the_page_s_colours() -> None:
    (spec,) = charts.interactive(position_chart())
    assert spec["width"] == "container"
    assert spec["config"]["axis"]["labelColor"] == "currentColor"


def test_a_figure_is_saved_as_svg_and_png(tmp_path: Path) -> None:
    charts.save(position_chart(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["positions-kv.png", "positions-kv.svg"]
    assert (tmp_path / "positions-kv.png").read_bytes().startswith(b"\x89PNG")
    svg = (tmp_path / "positions-kv.svg").read_text()
    assert svg.startswith("<svg")
    assert "Key-value retrieval" in svg


def test_a_write_that_fails_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(charts.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        charts.write_whole(path, b"new")
    assert path.read_bytes() == b"old"
