"""The charts of accuracy and of training, each built once for all the ways it is drawn."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from needlework.report.drawing import AFTER, BEFORE, CHANGES, RUNS, SHADES, WIDTH, Figure, sized
from needlework.report.text import fullest, in_order, in_sentence, percent, points

if TYPE_CHECKING:
    import altair as alt

_MOST_STEPS = 500
_LINE = 24
"""Characters of a label's line: names and titles that differ in the end would be cut off there on a narrow screen."""

Row = Mapping[str, float]
Rates = Mapping[str, Mapping[str, Row]]
"""By run and place: accuracy, its interval from `low` to `high`, and the number of clusters it is over."""


def rates(labels: Sequence[str], tables: Sequence[Mapping[str, Row]]) -> Rates:
    """Gather what each run got at each place.

    Args:
        labels: The names of the first run and of each that is compared with it.
        tables: The rows of each of these against the first run, by place.
    """

    def rate(row: Row, side: str) -> Row:
        return {
            "accuracy": row[side],
            "low": row[f"{side}_low"],
            "high": row[f"{side}_high"],
            "contexts": row["clusters"],
        }

    compared = zip(labels[1:], tables, strict=True)
    return {labels[0]: {place: rate(row, "before") for place, row in fullest(tables).items()}} | {
        label: {place: rate(row, "after") for place, row in table.items()} for label, table in compared
    }


def positions(name: str, title: str, found: Rates, axis: str) -> Figure:
    """Return the accuracy of each run along one axis: the gold position, or the length."""
    import altair as alt

    places = in_order(place for table in found.values() for place in table)
    x = alt.X("place:O", sort=places, title=axis, axis=alt.Axis(labelAngle=0, labelOverlap=True))
    # A little room above 100%, so that a point there does not push the legend away.
    y = alt.Y("accuracy:Q", title="accuracy", scale=alt.Scale(domain=[0, 1.04], nice=False), axis=_percent_axis())
    apart = min(10.0, 40 / len(found))
    layers: list[alt.Chart] = []
    for number, (label, table) in enumerate(found.items()):
        values = [{"place": place, "model": label} | dict(table[place]) for place in places if place in table]
        # Drawn a little apart, so that one interval does not hide the other.
        shift = apart * (number - (len(found) - 1) / 2)
        base = alt.Chart(alt.InlineData(values)).encode(x=x, color=color_of(found), tooltip=[
            alt.Tooltip("model:N"), alt.Tooltip("place:O", title=axis.split()[0].lower()),
            *(alt.Tooltip(f"{key}:Q", format=".1%") for key in ("accuracy", "low", "high")),
            alt.Tooltip("contexts:Q"),
        ])  # fmt: skip
        layers += [
            base.mark_line(strokeWidth=2, opacity=0.55, xOffset=shift).encode(y=y),
            base.mark_rule(strokeWidth=2, xOffset=shift).encode(y=alt.Y("low:Q"), y2="high:Q"),
            base.mark_point(size=70, filled=True, opacity=1, xOffset=shift).encode(y=y),
        ]
    ordered = {label: {place: table[place] for place in places if place in table} for label, table in found.items()}
    alt_text = f"{title}, accuracy by {in_sentence(axis)}. {in_words(ordered, 'accuracy', percent)}."
    return Figure(name, title, alt_text, (sized(alt.layer(*layers)),))


def all_rates(name: str, found: Rates) -> Figure:
    """Return the accuracy of each run on every benchmark, a line each."""
    import altair as alt

    # Some of them count faults, which no one would call accuracy.
    x = alt.X("accuracy:Q", title="rate", scale=alt.Scale(domain=[0, 1]), axis=_percent_axis())
    said = in_words(found, "accuracy", percent)
    return Figure(name, "Every run on every benchmark", f"{said}.", (lines(found, x, ".1%"),))


def lines(found: Rates, x: alt.X, digits: str) -> Any:
    """Return a panel of a mark and its interval for each run, one below the other, at each row.

    Args:
        found: By run and row, a number with its `low` and `high`.
        x: Which number, on which scale.
        digits: How numbers are written.
    """
    import altair as alt

    key = x["shorthand"].partition(":")[0]
    rows = list(dict.fromkeys(row for table in found.values() for row in table))
    values = [{"row": row, "model": label} | dict(numbers)
              for label, table in found.items() for row, numbers in table.items()]  # fmt: skip
    axis = alt.Axis(labelPadding=8, labelLimit=150, labelExpr=_in_lines(rows))
    base = alt.Chart(alt.InlineData(values)).encode(
        y=alt.Y("row:N", sort=rows, title=None, axis=axis),
        yOffset=alt.YOffset("model:N", sort=list(found), scale=alt.Scale(paddingOuter=0.35)),
        color=color_of(found),
        tooltip=[alt.Tooltip("row:N", title=" "), alt.Tooltip("model:N"),
                 *(alt.Tooltip(f"{each}:Q", format=digits) for each in (key, "low", "high"))],
    )  # fmt: skip
    panel = alt.layer(
        base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=x["title"]), x2="high:Q"),
        base.mark_point(size=60, filled=True, opacity=1).encode(x=x),
    )
    return sized(panel, height=30 + len(rows) * (14 * len(found) + 14))


def in_words(found: Rates, key: str, say: Callable[[float], str]) -> str:
    """Return in words what each run got at each place."""
    places = dict.fromkeys(place for table in found.values() for place in table)
    each = {place: ", ".join(f"{say(table[place][key])} {label}" for label, table in found.items() if place in table)
            for place in places}  # fmt: skip
    return "; ".join(f"{place}: {numbers}" for place, numbers in each.items())


def heat_map(name: str, title: str, labels: Sequence[str], tables: Sequence[Mapping[str, Mapping[str, Row]]]) -> Figure:
    """Return maps by length and depth: the accuracy of each run in the same shades, then what changed.

    Args:
        name: The figure's name.
        title: The benchmark's title.
        labels: The names of the first run and of each that is compared with it.
        tables: The rows of each of these against the first run, by length and place.
    """
    lengths = in_order(length for table in tables for length in table)
    places = in_order(place for table in tables for row in table.values() for place in row)

    def panel(title: str, table: Mapping[str, Mapping[str, Row]], key: str) -> Any:
        cells = [{"length": length, "place": place, "value": table[length][place][key]}
                 for length in lengths for place in places if place in table.get(length, {})]  # fmt: skip
        return _map(cells, lengths, places, title, change=key == "change")

    first = {length: fullest(table.get(length, {}) for table in tables) for length in lengths}
    panels = [panel(labels[0], first, "before")]
    compared = [(label, table) for label, table in zip(labels[1:], tables, strict=True) if table]
    panels += [panel(label, table, "after") for label, table in compared]
    panels += [panel(f"change, {label}" if len(tables) > 1 else "change", table, "change") for label, table in compared]
    corners = [
        f"{place} of {length} tokens: {percent(row['before'])} {labels[0]}, {percent(row['after'])} {label} "
        f"({points(row['change'])} points)"
        for label, table in compared
        for length in dict.fromkeys((lengths[0], lengths[-1]))
        for place in dict.fromkeys((places[0], places[len(places) // 2], places[-1]))
        if (row := table.get(length, {}).get(place))
    ]
    description = f"{title}, accuracy by context length and gold position. {'; '.join(corners)}."
    return Figure(name, f"{title}: accuracy by length and position", description, tuple(panels))


def _map(cells: list[dict[str, Any]], lengths: list[str], places: list[str], title: str, *, change: bool) -> Any:
    import altair as alt

    gap, flat = alt.Scale(paddingInner=0.03, paddingOuter=0), alt.Axis(labelAngle=0)
    base = alt.Chart(alt.InlineData(cells)).encode(
        x=alt.X("length:O", sort=lengths, title="context length (tokens)", axis=flat, scale=gap),
        y=alt.Y("place:O", sort=places, title="gold position", scale=gap),
    )
    shades = (
        alt.Scale(domain=[-0.5, 0.5], clamp=True, range=CHANGES, interpolate="lab")
        if change
        else alt.Scale(domain=[0, 1], range=SHADES, interpolate="lab")
    )
    dark = "datum.value > 0.35 || datum.value < -0.35" if change else "datum.value > 0.7"
    ink = alt.condition(dark, alt.value("#ffffff"), alt.value("#1d2733"))
    # A change is in points, so it has a sign and no percent sign.
    shown = base.transform_calculate(shown="format(100 * datum.value, '+.0f')") if change else base
    label = alt.Text("shown:N") if change else alt.Text("value:Q", format=".0%")
    return sized(
        alt.layer(
            base.mark_rect(cornerRadius=2).encode(color=alt.Color("value:Q", scale=shades, legend=None)),
            shown.mark_text(fontSize=12).encode(text=label, color=ink),
        ),
        title=title,
        width=WIDTH // 2,
    )


def kept(name: str, title: str, counts: Mapping[str, Mapping[str, int]]) -> Figure:
    """Return how many questions were answered both times, lost, gained, and never, for each run compared."""
    import altair as alt

    # Room to the right of the longest bar for its number.
    room = alt.Scale(domain=[0, 1.2 * max(1, *(count for each in counts.values() for count in each.values()))])
    names = [*next(iter(counts.values()))]
    shades = {"lost": CHANGES[0], "gained": CHANGES[-1]}
    moved = alt.Color(
        "fate:N",
        scale=alt.Scale(
            domain=names,
            range=[shades.get(each, BEFORE) for each in names],
        ),
        legend=None,
    )
    panels = []
    for label, fates in counts.items():
        values = [{"fate": fate, "questions": count} for fate, count in fates.items()]
        base = alt.Chart(alt.InlineData(values)).encode(
            x=alt.X("questions:Q", axis=None, scale=room),
            y=alt.Y("fate:N", sort=list(fates), title=None, axis=alt.Axis(labelPadding=8)),
        )
        panel = alt.layer(
            base.mark_bar(height=20, cornerRadius=2).encode(color=moved),
            base.mark_text(align="left", dx=6, fontSize=13).encode(text=alt.Text("questions:Q", format=",")),
        )
        several = len(counts) > 1
        panels.append(
            sized(panel, title=label if several else None, width=WIDTH // 2 if several else WIDTH, height=150)
        )
    title = f"{title}: questions kept and lost"
    said = "; ".join(
        (f"{label}: " if len(counts) > 1 else "") + ", ".join(f"{fate} {count:,}" for fate, count in fates.items())
        for label, fates in counts.items()
    )
    return Figure(name, title, f"{title}: {said}.", tuple(panels))


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
        panels.append(sized(panel, title=title, width=WIDTH // 2, height=220))
    first, last = steps[0], steps[-1]
    said = (
        f"Training over {last['step']:,} steps: loss from {first['loss']:.2f} to {last['loss']:.2f}, "
        f"answer tokens right from {percent(first['answer_accuracy'])} to {percent(last['answer_accuracy'])}."
    )
    return Figure(name, "Training", said, tuple(panels))


def overview(figures: Sequence[Figure]) -> Figure:
    """Return the position charts side by side: the picture for a README."""
    panels = [figure.panels[0].properties(title=figure.title, width=400) for figure in figures]
    return Figure(
        "overview", "Accuracy by gold position", " ".join(figure.description for figure in figures), tuple(panels)
    )


def color_of(runs: Mapping[str, object]) -> alt.Color:
    """Return the colours of the runs, with their legend."""
    import altair as alt

    legend = alt.Legend(title=None, orient="top", symbolType="circle", symbolOpacity=1, symbolSize=90,
                        columns=2 if len(runs) == 2 else 1, labelLimit=300, labelExpr=_in_lines(runs))  # fmt: skip
    return alt.Color("model:N", scale=alt.Scale(domain=list(runs), range=RUNS[: len(runs)]), legend=legend)


def _in_lines(labels: Iterable[str]) -> str:
    """Return the expression that breaks a chart's long labels into lines."""
    return f"({json.dumps({label: textwrap.wrap(label, _LINE) for label in labels})})[datum.label]"


def _percent_axis() -> alt.Axis:
    import altair as alt

    return alt.Axis(format=".0%", values=[0, 0.25, 0.5, 0.75, 1], labelOverlap=True)
