"""The comparison as a table for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from needlework.report.text import direction, p_value, percent, points

if TYPE_CHECKING:
    from rich.table import Table

COLORS = {1: "green", 0: "", -1: "red"}


def table(comparison: Mapping[str, Any]) -> Table:
    """Return a table of all benchmarks, broken down by length or else by gold position; 80 columns wide.

    Beside the p of a length or a position is the one that Holm adjusts for their number.
    """
    from rich.box import SIMPLE
    from rich.table import Table

    result = Table(box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("benchmark", "n", "before", "after", "change", "95 % interval", "p", "Holm"):
        result.add_column(heading, justify="left" if heading == "benchmark" else "right", overflow="fold")
    for name, label, row, is_overall in rows(comparison):
        color = COLORS[direction(name, row, comparison["level"])]
        _add(result, label if is_overall else f"  {label}", row, color, "bold" if is_overall else "dim")
    return result


def rows(comparison: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, float], bool]]:
    """Yield each row of a short table: its benchmark, its title, its numbers, and whether it is of the whole of it."""
    for name, each in comparison["benchmarks"].items():
        yield name, each["title"], each["overall"], True
        if "." in name:
            continue
        # One break-down is enough here; the report has both.
        label = "{} tokens" if each["by_length"] else "gold at {}"
        for key, row in (each["by_length"] or each["by_position"]).items():
            yield name, label.format(key), row, False


def _add(table: Table, label: str, row: Mapping[str, float], color: str, style: str) -> None:
    from rich.text import Text

    change = Text(points(row["change"]), style=color)
    span = f"{points(row['low'])} to {points(row['high'])}"
    ps = [p_value(row[key]).removeprefix("= ") if key in row else "" for key in ("p", "adjusted_p")]
    table.add_row(
        Text(label),
        str(row["n"]),
        percent(row["before"], 1),
        percent(row["after"], 1),
        change,
        span,
        *ps,
        style=style,
    )
