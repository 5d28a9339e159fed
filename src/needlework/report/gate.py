"""The harm gate: whether benchmarks were kept, in words and as an exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from needlework.errors import DataError
from needlework.report.margin import Judgement, judge, needed_to_judge
from needlework.report.power import POWER
from needlework.report.runs import runs_of
from needlework.report.stored import Comparison, read
from needlework.report.text import Row, as_gain, is_fault, is_kept, is_part, points

EXIT_CODES: dict[Judgement, int] = {"no harm": 0, "harm": 1, "too few": 3}
"""Exit codes of `needlework gate`; 2 is a user error, as in every command."""

TOO_SMALL = "known_unknowns"
"""Has 46 questions and cannot have more: at a margin of 2 points they decide nothing, so it is judged where named."""

SIZES = {"knowledge": "evaluate.knowledge.facts", "grounding": "evaluate.grounding.questions"}
"""The settings by which benchmarks have more questions."""

_COUNTED = ("discordant", "design_effect")
"""What the gate reads besides, and the report does not."""


@dataclass(frozen=True)
class Finding:
    """What became of one benchmark in one run."""

    judgement: Judgement
    text: str


def gate(comparison: Mapping[str, Any], benchmarks: Sequence[str], margin: float) -> list[Finding]:
    """Judge benchmarks in each run of a comparison.

    Args:
        comparison: The content of comparison.json.
        benchmarks: Their names; if there are none, those that finetuning should leave as they are, but `TOO_SMALL`.
        margin: The largest loss that is no harm, as a rate.

    Raises:
        DataError: If a benchmark was not compared.
    """
    found = []
    for after, compared in runs_of(comparison):
        names = benchmarks or [
            name for name in compared if is_kept(name) and not is_part(name, compared) and name != TOO_SMALL
        ]
        if missing := [name for name in names if name not in compared]:
            raise DataError(
                f"{missing[0]!r} was not compared for {after}. Compared: {', '.join(compared)}; "
                "for several, repeat --benchmark."
            )
        if not names:
            raise DataError(
                f"no benchmark of {after} is one that finetuning should keep: give --benchmark. "
                f"Compared: {', '.join(compared) or 'nothing but measures'}."
            )
        start = f"{after}, " if "others" in comparison else ""
        found += [_judged(start, name, compared[name]["overall"], margin) for name in names]
    return found


def unjudged(comparison: Mapping[str, Any], benchmarks: Sequence[str]) -> list[str]:
    """Say which benchmarks of each run `gate` leaves out, and which of those fell for certain.

    Args:
        comparison: The content of comparison.json.
        benchmarks: As given to `gate`.
    """
    said = []
    for after, compared in runs_of(comparison):
        left = [name for name in compared if name not in benchmarks and not is_part(name, compared)]
        left = [name for name in left if benchmarks or not is_kept(name) or name == TOO_SMALL]
        if left:
            start = f"{after}, not" if "others" in comparison else "Not"
            said.append(f"{start} judged: {', '.join(left)}. To judge one: --benchmark NAME.")
        for name in left:
            row = compared[name]["overall"]
            if as_gain(name, row)["high"] < 0:
                said.append(f"  {name} fell for certain: {points(row['change'])} points, "
                            f"{points(row['low'])} to {points(row['high'])}.")  # fmt: skip
    return said


def exit_code(findings: Sequence[Finding]) -> int:
    """Return 1 if any benchmark was harmed, else 3 if too few needles leave any undecided, else 0."""
    codes = {EXIT_CODES[each.judgement] for each in findings}
    return next(code for code in (1, 3, 0) if code in codes)


def load(run: Path) -> dict[str, Any]:
    """Read a run's comparison.json.

    Raises:
        DataError: If it is missing, has another form, or lacks what the gate reads.
    """
    path = run / "comparison.json"
    if not path.is_file():
        raise DataError(f"there is no {path}. Give a run's folder, or two folders of evaluations.")
    comparison = read(Comparison, path, "needlework compare")
    rows = [each["overall"] for _, benchmarks in runs_of(comparison) for each in benchmarks.values()]
    if lacking := [key for row in rows for key in _COUNTED if key not in row]:
        raise DataError(f"{path} lacks {lacking[0]!r}. Compare again.")
    return comparison


def _judged(start: str, name: str, row: Row, margin: float) -> Finding:
    gain, loss = as_gain(name, row), "rise" if is_fault(name) else "loss"
    judgement, limit = judge(gain, margin), f"{100 * margin:g} points"
    said = {
        "no harm": f"no harm: a {loss} of {limit} is ruled out",
        "harm": f"harm: the {loss} is more than {limit}",
        "too few": f"too few to tell: a {loss} of {limit} is neither ruled out nor shown",
    }[judgement]
    span = f"{points(row['low'])} to {points(row['high'])}"
    numbers = f"change {points(row['change'])} points, 95 % interval {span}, n = {row['n']:,}; {_turned(name, row)}"
    advice = _advice(name, gain, loss, margin) if judgement == "too few" else ""
    if judgement == "no harm" and gain["low"] > 0 and is_kept(name):
        advice = " It is judged by the balance. Nothing taught what rose, so look at what was lost (in the report)."
    return Finding(judgement, f"{start}{name}: {said} ({numbers}).{advice}")


def _turned(name: str, row: Row) -> str:
    """Say how many answers turned, which the balance of a change hides."""
    fell, rose = (round(row["n"] * (row["discordant"] + sign * row["change"]) / 2) for sign in (-1, 1))
    if is_fault(name):
        return f"{rose:,} newly at fault, {fell:,} no longer"
    return f"{fell:,} of {round(row['n'] * row['before']):,} hits lost, {rose:,} gained"


def _advice(name: str, row: Row, loss: str, margin: float) -> str:
    certain = f" That there is a {loss} is certain." if row["high"] < 0 else ""
    needed = needed_to_judge(row, margin)
    if needed is None:
        return f"{certain} No number of needles tells a {loss} of just the margin from the margin."
    size = SIZES.get(name.split(".")[0])
    more = f" Raise {size}." if size else ""
    assumed = f"a {loss} of {-100 * row['change']:.1f} points" if row["change"] < 0 else "no change"
    return (
        f"{certain} With {assumed}, {needed.needles:,} needles in {needed.clusters:,} clusters would tell "
        f"{100 * POWER:.0f} % of the time; here are {row['n']:,} in {row['clusters']:,}.{more}"
    )
