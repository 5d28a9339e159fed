"""Any number of runs side by side: the form of the paper's Table 2, and the data of figures."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from needlework.report.table import COLORS
from needlework.report.text import Row, direction, fullest, is_part, listed, names, percent, points

if TYPE_CHECKING:
    from rich.table import Table

Comparison = Mapping[str, Any]

COLUMNS = (
    *("run", "benchmark", "length", "position", "n", "clusters", "rate", "rate_low", "rate_high"),
    *("change", "change_low", "change_high", "p", "adjusted_p"),
)
"""Columns of the CSV file. A row without length or position covers all of them; the first run has no change."""

_CELL = 24
"""Characters that a benchmark takes on the terminal."""


def runs_of(comparison: Comparison) -> list[tuple[str, dict[str, Any]]]:
    """Return the name of each run but the first, and its benchmarks; two runs of one model are numbered."""
    return [
        (name, run["benchmarks"])
        for name, run in zip(_names(comparison)[1:], (comparison, *comparison.get("others", ())), strict=True)
    ]


def with_mean(comparison: Comparison) -> list[tuple[str, dict[str, Any]]]:
    """Return each run but the first, and the mean of several trainings where it was asked for."""
    mean = comparison.get("mean")
    return [*runs_of(comparison), *([(mean["after"], mean["benchmarks"])] if mean else [])]


def tables(comparison: Comparison, width: int = 80) -> Iterator[Table]:
    """Yield runs x benchmarks with rate and change, their intervals and n; as many tables as fit them all."""
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    base = _base(comparison)
    step = max(1, (width - max(len(name) for name in _names(comparison))) // _CELL)
    for start in range(0, len(base), step):
        shown = list(base)[start : start + step]
        table = Table(box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column("run", overflow="fold")
        for name in shown:
            table.add_column(f"{name}, n = {base[name]['n']:,}")
        table.add_row(Text(_names(comparison)[0]), *(_rate(base[name], "before") for name in shown))
        for run, benchmarks in with_mean(comparison):
            cells = []
            for name in shown:
                rate, *lines = _cell(benchmarks.get(name), base[name])
                color = COLORS[direction(name, benchmarks[name]["overall"], comparison["level"])] if lines else ""
                cells.append(Text("\n").join([Text(rate), *(Text(line, color) for line in lines)]))
            table.add_row(Text(run), *cells)
        yield table


def markdown(comparison: Comparison) -> str:
    """Return the same table as Markdown, all benchmarks side by side."""
    base = _base(comparison)
    lines = [["run", *(f"{name}, n = {row['n']:,}" for name, row in base.items())], ["---"] * (1 + len(base))]
    lines.append([_names(comparison)[0], *(_rate(row, "before") for row in base.values())])
    for run, benchmarks in with_mean(comparison):
        lines.append([run, *("<br>".join(_cell(benchmarks.get(name), row)) for name, row in base.items())])
    rows = "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
    return f"{rows}\n{' '.join([legend(comparison), comparison['method'], *notes(comparison)])}\n"


def rows_csv(comparison: Comparison) -> str:
    """Return all rows of a comparison as CSV, one of each run, benchmark, length and position: what figures draw."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    seen = set()
    for run, benchmarks in with_mean(comparison):
        for name, each in benchmarks.items():
            for length, position, row in _all_rows(each):
                place = {"benchmark": name, "length": length, "position": position}
                counts = {key: row[key] for key in ("n", "clusters")}
                first = {"run": _names(comparison)[0]} | place | counts | _side(row, "before")
                if tuple(first.values()) not in seen:
                    writer.writerow(first)
                    seen.add(tuple(first.values()))
                change = {"change": row["change"], "change_low": row["low"], "change_high": row["high"]}
                ps = {key: row[key] for key in ("p", "adjusted_p") if key in row}
                writer.writerow({"run": run} | place | counts | _side(row, "after") | change | ps)
    return file.getvalue()


def legend(comparison: Comparison) -> str:
    """Say what the cells of a table of runs hold."""
    return f"Rates in %, changes from the first run in points, with {100 * comparison['level']:.0f} % intervals."


def left_out(comparison: Comparison) -> list[str]:
    """Say which benchmarks are compared on fewer needles than were asked, because prompts were too long for a model."""
    said, base = [], _names(comparison)[0]
    for run, benchmarks in runs_of(comparison):
        for name, each in benchmarks.items():
            if (skipped := each.get("skipped")) and not is_part(name, benchmarks):
                counts = [f"{skipped[side]:,} for {label}" for side, label in (("before", base), ("after", run))
                          if skipped[side]]  # fmt: skip
                paired = f"{each['overall']['n']:,} needles"
                said.append(f"{name}, {run}: paired on {paired}; left out as too long: {listed(counts)}.")
    return said


def unlike(comparison: Comparison) -> list[str]:
    """Say which benchmarks were answered by another backend, number format or system message than the first run's."""
    return [
        f"{name}, {run}: the {what} was {sides['before']} and then {sides['after']}, which may be a part of the change."
        for run, benchmarks in runs_of(comparison)
        for name, each in benchmarks.items()
        if not is_part(name, benchmarks)
        for what, sides in each.get("unlike", {}).items()
    ]


MANY = 0.1
"""Share of answers from which on it is said that they were cut off."""


def cut_off(comparison: Comparison) -> list[str]:
    """Say of which benchmarks many answers reached the limit of tokens, which a change of form alone can change."""
    said = []
    for run, benchmarks in runs_of(comparison):
        found = [
            f"{name} {100 * cut['before']:.0f} % and {100 * cut['after']:.0f} % (of {each['limit']} tokens)"
            for name, each in benchmarks.items()
            if not is_part(name, benchmarks) and (cut := each.get("cut")) and max(cut.values()) >= MANY
        ]
        if found:
            said.append(
                f"{run}: answers that were cut off at the limit of tokens, before and after: {listed(found)}. "
                f"Shorter answers may be a part of the change."
            )
    return said


def notes(comparison: Comparison) -> list[str]:
    """Say what limits the comparison: needles left out, answers computed differently, and answers cut off."""
    return [*left_out(comparison), *unlike(comparison), *cut_off(comparison)]


def _names(comparison: Comparison) -> list[str]:
    return names([comparison["before"], comparison["after"], *(each["after"] for each in comparison.get("others", ()))])


def _base(comparison: Comparison) -> dict[str, Row]:
    """Return a row of each benchmark of any run, which has the first run's rate."""
    return fullest(
        {name: each["overall"] for name, each in benchmarks.items()} for _, benchmarks in runs_of(comparison)
    )


def _all_rows(each: Mapping[str, Any]) -> Iterator[tuple[str, str, Row]]:
    yield "", "", each["overall"]
    yield from (("", position, row) for position, row in each["by_position"].items())
    yield from ((length, "", row) for length, row in each["by_length"].items())
    for length, rows in each["by_length_and_position"].items():
        yield from ((length, position, row) for position, row in rows.items())


def _side(row: Row, side: str) -> dict[str, float]:
    return {"rate": row[side], "rate_low": row[f"{side}_low"], "rate_high": row[f"{side}_high"]}


def _rate(row: Row, side: str) -> str:
    low, high = (f"{100 * row[f'{side}_{end}']:.1f}" for end in ("low", "high"))
    return f"{percent(row[side], 1)} ({low} to {high})"


def _cell(benchmark: Mapping[str, Any] | None, base: Row) -> list[str]:
    """Return the lines of a run's cell; they say so if its change is from another rate than the first run's above."""
    if benchmark is None:
        return ["—"]
    row = benchmark["overall"]
    same = (row["n"], row["before"]) == (base["n"], base["before"])
    other = [] if same else [f"from {percent(row['before'], 1)}, n = {row['n']:,}"]
    return [_rate(row, "after"), _change(row), *other]


def _change(row: Row) -> str:
    return f"{points(row['change'])} ({points(row['low'])} to {points(row['high'])})"
