"""The charts: each is built once, and drawn as interactive HTML, as SVG and as PNG."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from needlework.report.text import in_sentence, percent

if TYPE_CHECKING:
    import altair as alt

BEFORE, AFTER = "#8494a8", "#d9540b"
"""Grey-blue and vermilion differ in hue and lightness for every common kind of colour blindness."""

_SHADES = ["#eef1f5", "#b3c4d9", "#6a8cb5", "#274e80"]
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Helvetica, Arial, sans-serif"
_WIDTH, _HEIGHT = 640, 280
_MOST_STEPS = 500


@dataclass(frozen=True)
class Figure:
    """One or more panels side by side, with what a reader who cannot see them is told."""

    name: str
    title: str
    description: str
    panels: tuple[alt.Chart | alt.LayerChart, ...]


def positions(name: str, title: str, rows: Mapping[str, Mapping[str, float]], axis: str) -> Figure:
    """Return accuracy before and after along one axis: the gold position, or the length."""
    import altair as alt

    places = _sorted(rows)
    x = alt.X("place:O", sort=places, title=axis, axis=alt.Axis(labelAngle=0, labelOverlap=True))
    # A little room above 100%, so that a point there does not push the legend away.
    y = alt.Y("accuracy:Q", title="accuracy", scale=alt.Scale(domain=[0, 1.04], nice=False), axis=_percent_axis())
    color = alt.Color(
        "model:N",
        scale=alt.Scale(domain=["before", "after"], range=[BEFORE, AFTER]),
        legend=alt.Legend(title=None, orient="top", symbolType="circle", symbolOpacity=1, symbolSize=90),
    )
    layers: list[alt.Chart] = []
    # Drawn a little apart, so that one interval does not hide the other.
    for model, shift in (("before", -5), ("after", 5)):
        values = [
            {"place": place, "model": model, "accuracy": row[model], "low": row[f"{model}_low"],
             "high": row[f"{model}_high"], "questions": row["clusters"]}
            for place, row in ((place, rows[place]) for place in places)
        ]  # fmt: skip
        base = alt.Chart(alt.InlineData(values)).encode(x=x, color=color, tooltip=[
            alt.Tooltip("model:N"), alt.Tooltip("place:O", title=axis.split()[0].lower()),
            *(alt.Tooltip(f"{key}:Q", format=".1%") for key in ("accuracy", "low", "high")),
            alt.Tooltip("questions:Q"),
        ])  # fmt: skip
        layers += [
            base.mark_line(strokeWidth=2, opacity=0.55, xOffset=shift).encode(y=y),
            base.mark_rule(strokeWidth=2, xOffset=shift).encode(y=alt.Y("low:Q"), y2="high:Q"),
            base.mark_point(size=70, filled=True, opacity=1, xOffset=shift).encode(y=y),
        ]
    panel = alt.layer(*layers)
    said = [f"{place}: {percent(rows[place]['before'])} before, {percent(rows[place]['after'])} after"
            for place in places]  # fmt: skip
    alt_text = f"{title}, accuracy by {in_sentence(axis)}. {'; '.join(said)}."
    return Figure(name, title, alt_text, (_sized(panel),))


def heat_map(name: str, title: str, rows: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Figure:
    """Return accuracy by length and depth: one map before, one after, in the same shades."""
    import altair as alt

    lengths = _sorted(rows)
    places = _sorted({place: None for length in lengths for place in rows[length]})
    gap, flat = alt.Scale(paddingInner=0.03, paddingOuter=0), alt.Axis(labelAngle=0)
    panels = []
    for model in ("before", "after"):
        values = [
            {"length": length, "place": place, "accuracy": rows[length][place][model]}
            for length in lengths
            for place in places
            if place in rows[length]
        ]
        base = alt.Chart(alt.InlineData(values)).encode(
            x=alt.X("length:O", sort=lengths, title="context length (tokens)", axis=flat, scale=gap),
            y=alt.Y("place:O", sort=places, title="gold position", scale=gap),
        )
        cells = base.mark_rect(cornerRadius=2).encode(
            color=alt.Color("accuracy:Q", scale=alt.Scale(domain=[0, 1], range=_SHADES, interpolate="lab"), legend=None)
        )
        shade = alt.condition("datum.accuracy > 0.5", alt.value("#ffffff"), alt.value("#1d2733"))
        labels = base.mark_text(fontSize=12).encode(text=alt.Text("accuracy:Q", format=".0%"), color=shade)
        panels.append(_sized(alt.layer(cells, labels), title=model, width=_WIDTH // 2))
    corners = [f"{place} of {length} tokens: {percent(rows[length][place]['before'])} before, "
               f"{percent(rows[length][place]['after'])} after"
               for length in dict.fromkeys((lengths[0], lengths[-1]))
               for place in dict.fromkeys((places[0], places[len(places) // 2], places[-1]))
               if place in rows[length]]  # fmt: skip
    description = f"{title}, accuracy by context length and gold position. {'; '.join(corners)}."
    return Figure(name, f"{title}: accuracy by length and position", description, tuple(panels))


def kept(name: str, title: str, counts: Mapping[str, int]) -> Figure:
    """Return how many questions were answered before and after, lost, gained, and never."""
    import altair as alt

    values = [{"fate": fate, "questions": count} for fate, count in counts.items()]
    # Room to the right of the longest bar for its number.
    room = alt.Scale(domain=[0, 1.1 * max(1, *counts.values())])
    base = alt.Chart(alt.InlineData(values)).encode(
        x=alt.X("questions:Q", axis=None, scale=room),
        y=alt.Y("fate:N", sort=list(counts), title=None, axis=alt.Axis(labelPadding=8)),
    )
    changed = "datum.fate == 'lost' || datum.fate == 'gained'"
    moved = alt.condition(changed, alt.value(AFTER), alt.value(BEFORE))
    panel = alt.layer(
        base.mark_bar(height=20, cornerRadius=2).encode(color=moved),
        base.mark_text(align="left", dx=6, fontSize=13).encode(text=alt.Text("questions:Q", format=",")),
    )
    said = ", ".join(f"{fate} {count:,}" for fate, count in counts.items())
    title = f"{title}: questions kept and lost"
    return Figure(name, title, f"{title}: {said}.", (_sized(panel, height=150),))


def training(name: str, steps: Sequence[Mapping[str, float]]) -> Figure:
    """Return the loss and the share of answer tokens predicted right, by optimizer step."""
    import altair as alt

    every = -(-len(steps) // _MOST_STEPS)
    shown = [steps[i] for i in sorted({*range(0, len(steps), every), len(steps) - 1})]
    panels = []
    for key, title, axis in (
        ("loss", "loss", alt.Axis(tickCount=5)),
        ("answer_accuracy", "answer tokens right", _percent_axis()),
    ):
        values = [{"step": step["step"], "value": step[key]} for step in shown]
        scale = alt.Scale(domain=[0, 1]) if key == "answer_accuracy" else alt.Scale(zero=True, nice=True)
        dots = alt.OverlayMarkDef(size=18, color=AFTER) if len(values) < 60 else False
        mark = alt.Chart(alt.InlineData(values)).mark_line(color=AFTER, strokeWidth=2, point=dots)
        panel = mark.encode(
            x=alt.X("step:Q", title="optimizer step", axis=alt.Axis(grid=False, tickMinStep=1, tickCount=6)),
            y=alt.Y("value:Q", title=None, axis=axis, scale=scale),
            tooltip=[alt.Tooltip("step:Q"), alt.Tooltip("value:Q", title=title, format=".3f")],
        )
        panels.append(_sized(panel, title=title, width=_WIDTH // 2, height=220))
    first, last = steps[0], steps[-1]
    said = (
        f"Training over {last['step']:,} steps: loss from {first['loss']:.2f} to {last['loss']:.2f}, "
        f"answer tokens right from {percent(first['answer_accuracy'])} to {percent(last['answer_accuracy'])}."
    )
    return Figure(name, "Training", said, tuple(panels))


def overview(figures: Sequence[Figure]) -> Figure:
    """Return the position charts side by side: the picture for a README."""
    panels = [figure.panels[0].properties(title=figure.title, width=400) for figure in figures]
    title = "Accuracy by gold position, before and after finetuning"
    return Figure("overview", title, " ".join(figure.description for figure in figures), tuple(panels))


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
    """Write <name>.svg and <name>.png, each under a temporary name until it is complete."""
    import vl_convert

    version = vegalite_version()
    spec = _static(figure)
    write_whole(folder / f"{figure.name}.svg", vl_convert.vegalite_to_svg(spec, vl_version=version).encode())
    write_whole(folder / f"{figure.name}.png", vl_convert.vegalite_to_png(spec, vl_version=version, scale=2))


def vegalite_version() -> str:
    """Return the Vega-Lite version that altair writes, as vl-convert spells it."""
    import altair as alt

    return ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that no reader ever meets half of it."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(data)
    os.replace(temporary, path)


def _static(figure: Figure) -> dict[str, Any]:
    import altair as alt

    # Each panel keeps its own legend: a shared one would sit above the panels' titles.
    chart = alt.hconcat(*figure.panels, spacing=36).resolve_scale(color="independent")
    title = alt.TitleParams(figure.title, anchor="start", fontSize=17, offset=14)
    chart = chart.properties(title=title, description=figure.description, background="#ffffff", padding=20)
    return {**chart.to_dict(), "config": _config("#1d2733", "#52606d", faint=0.9, grid="#dfe4ea")}


def _sized(panel: Any, *, title: str | None = None, width: int = _WIDTH, height: int = _HEIGHT) -> Any:
    panel = panel.properties(width=width, height=height)
    return panel.properties(title=title) if title else panel


def _percent_axis() -> alt.Axis:
    import altair as alt

    return alt.Axis(format=".0%", values=[0, 0.25, 0.5, 0.75, 1])


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


def _sorted(labels: Mapping[str, Any]) -> list[str]:
    """Sort "0%", "25%", "100%" and "1", "10" as numbers; leave names as they came."""
    try:
        return sorted(labels, key=lambda label: float(label.rstrip("%")))
    except ValueError:
        return list(labels)
