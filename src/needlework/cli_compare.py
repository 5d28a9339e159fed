"""The commands that compare evaluations, and judge what changed between them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from needlework.errors import UserError


def compare(
    base: Annotated[Path, typer.Argument(help="Folder of the evaluation to compare with.")],
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders to compare with BASE.")],
    output: Annotated[
        Path | None, typer.Option("--output", metavar="DIR", help="Write comparison.json, table.md and rows.csv here.")
    ] = None,
    mean: Annotated[
        bool, typer.Option("--mean", help="RUNs are trainings by different seeds: compare their mean, too.")
    ] = False,
    detect: Annotated[
        float | None, typer.Option(metavar="POINTS", help="Also say how many needles it takes to detect such a change.")
    ] = None,
) -> None:
    """Compare evaluations with the first of them, needle by needle."""
    from needlework import pipeline
    from needlework.report.comparison import compare as paired

    rate = None if detect is None else _rate(detect, "--detect")
    first, *others = runs
    comparison = (
        pipeline.write_comparison(base, first, output, *others, mean=mean)
        if output
        else paired(base, first, *others, mean=mean)
    )
    print_comparison(comparison)
    for line in _not_shared(comparison):
        print(line)
    for line in _needed(comparison, rate) if rate else ():
        print(line)
    if output:
        print(f"Written to {output}: comparison.json, table.md and rows.csv. As a page: needlework report {output}")


def gate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, or of the evaluation before.")],
    after: Annotated[Path | None, typer.Argument(metavar="[AFTER]", help="Folder of the evaluation after.")] = None,
    benchmark: Annotated[
        list[str] | None,
        typer.Option(help="May be repeated; default: all that finetuning should keep."),
    ] = None,
    margin: Annotated[float, typer.Option(metavar="POINTS", help="Largest loss that does not count as harm.")] = 2.0,
) -> None:
    """Check that benchmarks lost no more than a margin.

    Exits with 0 if so, with 1 if one lost more, and with 3 if there are too few needles to tell.
    """
    from needlework.report.comparison import compare as paired
    from needlework.report.gate import exit_code, load, unjudged
    from needlework.report.gate import gate as judged

    rate = _rate(margin, "--margin")
    comparison = paired(run, after) if after else load(run)
    findings = judged(comparison, benchmark or (), rate)
    for line in [*(finding.text for finding in findings), *unjudged(comparison, benchmark or ())]:
        print(line)
    raise typer.Exit(exit_code(findings))


def print_comparison(comparison: dict[str, Any]) -> None:
    """Print two runs in detail, or more than two side by side."""
    from rich.console import Console

    from needlework.report import measures
    from needlework.report.runs import legend, notes, runs_of, tables
    from needlework.report.table import table
    from needlework.report.text import verdict

    console, runs = Console(highlight=False), (comparison, *comparison.get("others", ()))
    if any(run["benchmarks"] for run in runs):
        for each in tables(comparison, console.width) if "others" in comparison else [table(comparison)]:
            console.print(each)
        for run in [comparison["mean"]] if "mean" in comparison else runs:
            console.print(verdict(comparison | run), markup=False)
        if "others" in comparison:
            console.print(legend(comparison), style="dim", markup=False)
        console.print(comparison["method"], style="dim", markup=False)
        for line in notes(comparison):
            console.print(line, markup=False)
    for (name, _), run in zip(runs_of(comparison), runs, strict=True):
        if "measures" in run:
            if len(runs) > 1:
                console.print(name, style="bold", markup=False)
            console.print(measures.printed(run["measures"]))
    if any("measures" in run for run in runs):
        console.print(measures.METHOD, style="dim", markup=False)


def _rate(points: float, option: str) -> float:
    if not 0.01 <= points < 100:
        raise UserError(f"{option} is {points:g}: give a number of percentage points from 0.01 to below 100.")
    return points / 100


def _not_shared(comparison: dict[str, Any]) -> list[str]:
    """Say which benchmarks only one side was asked."""
    from needlework.report.runs import runs_of

    lines = []
    runs = (comparison, *comparison.get("others", ()))
    for (name, _), run in zip(runs_of(comparison), runs, strict=True):
        for side, said in (("before", f"not asked of {name}"), ("after", f"asked of {name} alone")):
            if left := run["not_shared"][side]:
                lines.append(f"Not compared, {said}: {', '.join(left)}.")
    return lines


def _needed(comparison: dict[str, Any], change: float) -> list[str]:
    """Say how many needles each benchmark takes to see a change."""
    from needlework.report.power import POWER, needed
    from needlework.report.runs import runs_of

    lines = [f"To see a change of {100 * change:g} points {100 * POWER:.0f} % of the time (two-sided level 5 %):"]
    for run, benchmarks in runs_of(comparison):
        for name, each in benchmarks.items():
            row, found = each["overall"], needed(each["overall"], change)
            takes = f"{found.needles:,} needles in {found.clusters:,} clusters"
            lines.append(f"  {run}, {name}: {takes}; here {row['n']:,} in {row['clusters']:,}")
    return lines
