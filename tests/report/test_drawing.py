from __future__ import annotations

from pathlib import Path

from needlework.report import drawing
from tests.report.test_charts import position_chart


def test_a_chart_on_the_page_fills_its_container_and_has_the_page_s_colours() -> None:
    (spec,) = drawing.interactive(position_chart())
    assert spec["width"] == "container"
    assert spec["config"]["axis"]["labelColor"] == "currentColor"


def test_a_figure_is_saved_as_svg_and_png(tmp_path: Path) -> None:
    drawing.save(position_chart(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["positions-kv.png", "positions-kv.svg"]
    assert (tmp_path / "positions-kv.png").read_bytes().startswith(b"\x89PNG")
    svg = (tmp_path / "positions-kv.svg").read_text()
    assert svg.startswith("<svg")
    assert "Key-value retrieval" in svg


def test_each_of_a_figure_s_panels_is_a_chart_of_its_own_on_the_page() -> None:
    figure = position_chart()
    two = drawing.Figure("two", "Two", "Two panels.", figure.panels * 2)
    assert [spec["description"] for spec in drawing.interactive(two)] == ["Two panels."] * 2
