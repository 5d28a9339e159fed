"""Which figures a run's report has, and the numbers behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from needlework.report import charts, fates, measure_charts, text
from needlework.report.drawing import Figure
from needlework.report.run import Run
from needlework.visible import visible

_MOST_VALUES = 20
"""Rows of a measure's table; a model has hundreds of heads."""


@dataclass(frozen=True)
class MeasureFigure:
    """A measure's figure and the tables of its values."""

    figure: Figure
    heads: bool
    tables: list[tuple[str, int, list[tuple[str, Mapping[str, float]]]]]
    """For each run against the first: its name, the number of values left out, and the rest."""


def position_figures(run: Run) -> list[Figure]:
    """Return a figure for each benchmark that asks at several positions."""
    figures = []
    for name, title in run.titles.items():
        tables = run.tables(name, "by_position")
        places = list(dict.fromkeys(place for table in tables for place in table))
        if len(places) > 1 and not text.is_fault(name):
            measure = "Depth" if places[0].endswith("%") else "Position"
            found = charts.rates(run.names, tables)
            figures.append(
                charts.positions(f"positions-{name}", title, found, f"{measure} of the gold item in the context")
            )
    return figures


def other_figures(run: Run) -> list[Figure]:
    """Return all figures but those of positions and of measures."""
    figures, titles = [], run.titles
    if len(run.sides) > 1 and titles:
        overall = [{each["title"]: each["overall"] for each in side.benchmarks.values()} for side in run.compared]
        figures.append(charts.all_rates("all", charts.rates(run.names, overall)))
    for name, title in titles.items():
        both, lengths = run.tables(name, "by_length_and_position"), run.tables(name, "by_length")
        if any(both) and not text.is_part(name, titles):
            figures.append(charts.heat_map(f"map-{name}", title, run.names, both))
        elif max(map(len, lengths)) > 1 and max(map(len, run.tables(name, "by_position"))) < 2:
            axis = "Context length (tokens)"
            figures.append(charts.positions(f"lengths-{name}", title, charts.rates(run.names, lengths), axis))
        if text.is_kept(name) and not text.is_fault(name):
            base, _, score = name.partition(".")
            found = {side.label: fates.fates(run.pairs(base, number), score)
                     for number, side in enumerate(run.sides) if name in side.benchmarks}  # fmt: skip
            figures.append(charts.kept(f"kept-{name}", title, found))
    if run.steps:
        figures.append(charts.training("training", run.steps))
    return figures


def measures(run: Run) -> list[MeasureFigure]:
    """Return what is shown of each measure."""
    found = []
    for name in dict.fromkeys(name for side in run.sides for name in side.measures):
        sides = [side for side in run.sides if side.measures.get(name)]
        if not sides:
            continue
        values = [side.measures[name] for side in sides]
        labels = [run.labels[0], *(side.label for side in sides)]
        title = visible(run.measure_titles.get(name, name.replace("_", " ").capitalize()))
        tables = []
        for side, each in zip(sides, values, strict=True):
            rows = measure_charts.ranked(each, _MOST_VALUES)
            tables.append((side.label if len(run.sides) > 1 else "", len(each) - len(rows), rows))
        figure = measure_charts.measure(f"measure-{name}", title, labels, values)
        found.append(MeasureFigure(figure, measure_charts.are_heads(values), tables))
    return found


def numbers(run: Run) -> dict[str, list[dict[str, Any]]]:
    """Return the rows behind the figures of positions and lengths, by the figure's name."""
    return {
        f"{kind}-{name}": [
            {"name": name, "place": place, "run": side.label if len(run.sides) > 1 else "", "row": row}
            for side in run.compared
            for place, row in side.benchmarks.get(name, {}).get(table, {}).items()
        ]
        for kind, table in (("positions", "by_position"), ("lengths", "by_length"))
        for name in run.titles
    }


SHAPES = {
    "middle_dip": "the middle lies below the two ends (middle dip)",
    "primacy": "the last position lies below the first (primacy)",
}


WHOLE_RANGE = 4.0
"""The width of a contrast's interval if there are too few contexts: a change from -1 to 1, or back."""


def shapes(run: Run) -> dict[str, list[str]]:
    """Return how accuracy depends on the position, in a sentence for each run, by the figure's name."""
    return {
        f"positions-{name}": [
            f"{side.label}: {said}" if len(run.sides) > 1 else said
            for side in run.sides
            if (said := _shape(side.benchmarks.get(name, {})))
        ]
        for name in run.titles
    }


def _shape(benchmark: Mapping[str, Any]) -> str:
    """Return the sentence of one benchmark, without contrasts whose interval is the whole range."""
    said = [
        f"{called} by {text.points(row['before'])} points before, {text.points(row['after'])} after, "
        f"change {text.points(row['change'])} ({text.points(row['low'])} to {text.points(row['high'])})"
        for key, called in SHAPES.items()
        if (row := benchmark.get(key)) and row["high"] - row["low"] < WHOLE_RANGE
    ]
    return f"Shape: {'; '.join(said)}" if said else ""
