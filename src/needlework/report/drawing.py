"""How any figure is drawn: as interactive HTML in the page's colours, as SVG and as PNG."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from needlework.storage import write_chunks, write_text

if TYPE_CHECKING:
    import altair as alt

BEFORE, AFTER = "#8494a8", "#d9540b"
"""Grey-blue and vermilion differ in hue and lightness for every common kind of colour blindness."""

RUNS = [BEFORE, AFTER, "#0f8a7e", "#8a5fc0", "#b58900", "#3b7dd8", "#c2447e", "#6b8e23"]
"""A colour for each run, the first of which is what the others are compared with; after eight they repeat."""

SHADES = ["#eef1f5", "#b3c4d9", "#6a8cb5", "#274e80"]
CHANGES = ["#a63c05", "#e8a37c", "#f1f2f4", "#8fb0d6", "#274e80"]
"""From worse to better."""

WIDTH, HEIGHT = 640, 280
_COLUMNS = 3
_TITLE = 26
"""Characters of a line of a panel's title, where three stand side by side."""
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Helvetica, Arial, sans-serif"


@dataclass(frozen=True)
class Figure:
    """One or more panels side by side, with a description for readers who cannot see them."""

    name: str
    title: str
    description: str
    panels: tuple[alt.Chart | alt.LayerChart, ...]


def sized(panel: Any, *, title: str | None = None, width: int = WIDTH, height: int = HEIGHT) -> Any:
    """Return a panel of a size in pixels, which is also its proportion on a page that sets the width."""
    panel = panel.properties(width=width, height=height)
    return panel.properties(title=textwrap.wrap(title, _TITLE)) if title else panel


def interactive(figure: Figure) -> list[dict[str, Any]]:
    """Return a Vega-Lite specification for each panel, as wide as its container, in the page's colours."""
    # The page draws SVG, where `currentColor` follows the light or dark text around it as that changes.
    config = _config("currentColor", "currentColor", faint=0.16)
    layout = {
        "config": config,
        "padding": {"left": 0, "right": 4, "top": 4, "bottom": 4},
        "autosize": {"type": "fit-x", "contains": "padding"},
    }
    wide = {"width": "container", "background": "transparent", "description": figure.description}
    return [panel.properties(**wide).to_dict() | layout for panel in figure.panels]


def save(figure: Figure, folder: Path) -> None:
    """Write <name>.svg and <name>.png."""
    import vl_convert

    version = vegalite_version()
    spec = _static(figure)
    write_text(folder / f"{figure.name}.svg", vl_convert.vegalite_to_svg(spec, vl_version=version))
    write_chunks(folder / f"{figure.name}.png", [vl_convert.vegalite_to_png(spec, vl_version=version, scale=2)])


def vegalite_version() -> str:
    """Return the Vega-Lite version that altair writes, as vl-convert spells it."""
    import altair as alt

    return ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])


def _static(figure: Figure) -> dict[str, Any]:
    import altair as alt

    # Each panel keeps its own legend: a shared one would sit above the panels' titles.
    chart = alt.concat(*figure.panels, spacing=36, columns=_COLUMNS).resolve_scale(color="independent")
    title = alt.TitleParams(figure.title, anchor="start", fontSize=17, offset=14)
    chart = chart.properties(title=title, description=figure.description, background="#ffffff", padding=20)
    return {**chart.to_dict(), "config": _config("#1d2733", "#52606d", faint=0.9, grid="#dfe4ea")}


def _config(ink: str, quiet: str, *, faint: float, grid: str = "currentColor") -> dict[str, Any]:
    words = {"labelColor": quiet, "titleColor": quiet, "labelFontSize": 12, "titleFontSize": 12}
    lines = {"gridColor": grid, "gridOpacity": faint, "domainColor": quiet, "domainOpacity": 0.5,
             "tickColor": quiet, "tickOpacity": 0.5}  # fmt: skip
    space = {"titleFontWeight": "normal", "titlePadding": 10, "labelPadding": 6}
    return {
        "font": _FONT,
        "view": {"stroke": None},
        "axis": words | lines | space,
        "axisX": {"grid": False},
        "axisY": {"domain": False, "ticks": False},
        "legend": {"labelColor": ink, "labelFontSize": 13, "offset": 10, "columnPadding": 16},
        "title": {"color": ink, "fontSize": 14, "fontWeight": 600, "anchor": "start", "offset": 10},
        "text": {"color": ink},
        "line": {"strokeCap": "round", "strokeJoin": "round"},
    }
