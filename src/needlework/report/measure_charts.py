"""The charts of numeric measures: what moved, value by value, and the heads of a model as a map."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from needlework.report import charts
from needlework.report.drawing import CHANGES, SHADES, WIDTH, Figure, sized
from needlework.report.text import significant

if TYPE_CHECKING:
    import altair as alt

Values = Mapping[str, Mapping[str, float]]
"""By name of the value, such as "value digits" or "L3.H5": before, after, change and its interval."""

_HEAD = re.compile(r"L(\d+)\.H(\d+)")


def measure(name: str, title: str, labels: Sequence[str], sides: Sequence[Values]) -> Figure:
    """Return the figure of a measure: a map if its values are attention heads, else a line for each value.

    Args:
        name: The figure's name.
        title: The measure's title.
        labels: The names of the first run and of each that is compared with it.
        sides: The values of each of these against the first run.
    """
    if are_heads(sides):
        return _heads(name, title, labels, sides)
    return _lines(name, title, labels, sides)


def are_heads(sides: Sequence[Values]) -> bool:
    """Whether the values are of attention heads, by their names."""
    return all(_HEAD.fullmatch(value) for side in sides for value in side)


def ranked(values: Values, most: int) -> list[tuple[str, Mapping[str, float]]]:
    """Return the values for a table: all in their order, or the `most` that changed most."""
    if len(values) <= most:
        return list(values.items())
    return sorted(values.items(), key=lambda item: -abs(item[1]["change"]))[:most]


def _lines(name: str, title: str, labels: Sequence[str], sides: Sequence[Values]) -> Figure:
    import altair as alt

    first = {value: _mark(row["before"], 0, 0) for side in reversed(sides) for value, row in side.items()}
    found = {labels[0]: first} | {
        label: {value: _mark(row["after"], row["low"] - row["change"], row["high"] - row["change"])
                for value, row in side.items()}
        for label, side in zip(labels[1:], sides, strict=True)
    }  # fmt: skip
    x = alt.X("value:Q", title=None, scale=alt.Scale(zero=False, nice=True), axis=alt.Axis(tickCount=5))
    said = charts.in_words(found, "value", significant)
    return Figure(name, title, f"{title}. {said}.", (charts.lines(found, x, ".3~g"),))


def _mark(value: float, below: float, above: float) -> Mapping[str, float]:
    return {"value": value, "low": value + below, "high": value + above}


def _heads(name: str, title: str, labels: Sequence[str], sides: Sequence[Values]) -> Figure:
    import altair as alt

    rows = [row for side in sides for row in side.values()]
    most = max(max(abs(row["before"]), abs(row["after"])) for row in rows) or 1.0
    swing = max(abs(row["change"]) for row in rows) or 1.0
    shades = alt.Scale(domain=[0, most], range=SHADES, interpolate="lab")
    changes = alt.Scale(domain=[-swing, swing], range=CHANGES, interpolate="lab")
    compared = list(zip(labels[1:], sides, strict=True))
    panels = [_map(labels[0], sides[0], "before", shades)]
    panels += [_map(label, side, "after", shades) for label, side in compared]
    panels += [
        _map(f"change, {label}" if len(sides) > 1 else "change", side, "change", changes) for label, side in compared
    ]
    said = "; ".join(
        f"{head} from {row['before']:.3f} to {row['after']:.3f}" + (f" {label}" if len(sides) > 1 else "")
        for label, side in compared
        for head, row in ranked(side, 5)
    )
    return Figure(name, title, f"{title}, by layer and head. Most changed: {said}.", tuple(panels))


def _map(title: str, values: Values, key: str, scale: alt.Scale) -> Any:
    import altair as alt

    cells = []
    for value, row in values.items():
        layer, head = value.removeprefix("L").split(".H")
        cells.append({"layer": int(layer), "head": int(head), "score": row[key]})
    legend = alt.Legend(title=None, orient="bottom", gradientLength=160, gradientThickness=8, tickCount=3)
    gap = alt.Scale(paddingInner=0.05, paddingOuter=0)
    panel = (
        alt.Chart(alt.InlineData(cells))
        .mark_rect()
        .encode(
            x=alt.X("head:O", title="head", scale=gap, axis=alt.Axis(labelAngle=0, labelOverlap=True)),
            y=alt.Y("layer:O", title="layer", scale=gap, axis=alt.Axis(labelOverlap=True)),
            color=alt.Color("score:Q", scale=scale, legend=legend),
            tooltip=[alt.Tooltip("layer:O"), alt.Tooltip("head:O"), alt.Tooltip("score:Q", format=".3f")],
        )
    )
    layers = len({cell["layer"] for cell in cells})
    return sized(panel, title=title, width=WIDTH // 2, height=min(420, 60 + 14 * layers))
