"""Comparing what was measured inside two models: perplexity, drift, loss per answer token, head scores.

The numbers are real-valued and may have no bounds, so their statistics differ from those of yes-or-no outcomes.
Pairing and clusters are the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from needlework.errors import DataError
from needlework.report.pairing import check_settings
from needlework.report.statistics import FEW, LEVEL, RESAMPLES, expanded_tail, resampled
from needlework.report.text import p_value

if TYPE_CHECKING:
    from rich.table import Table

Floats = npt.NDArray[np.float64]

EXACT = 16
"""Up to this many clusters all sign patterns are counted; beyond, as many random ones as RESAMPLES."""

METHOD = (
    "Paired by text, prompt or needle, in clusters of one article or haystack; 95 % intervals by cluster bootstrap "
    f"(expanded percentile, {RESAMPLES:,} resamples), p by the sign-flip test on clusters: exact up to {EXACT} "
    f"clusters, with {RESAMPLES:,} random sign patterns beyond, and not corrected for how many values there are."
)

MOST = 10
"""Values of a measure that are printed: of the heads of a model there are hundreds."""

Measured = dict[str, tuple[str, dict[str, float]]]
"""By id, the group and the values."""


def compare(before: Path, after: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Compare two evaluation folders on the measures they share.

    Returns:
        By measure and by value name the rows of `comparison.json`; empty where nothing was measured in both.

    Raises:
        DataError: If a file is malformed, or they measured different texts.
    """
    return {name: _compare(name, before, after) for name in shared(before, after)}


def shared(before: Path, after: Path) -> list[str]:
    """Return the names of the measures that two evaluation folders both hold."""
    names = sorted(path.stem.removeprefix("measures-") for path in before.glob("measures-*.jsonl"))
    return [name for name in names if _path(after, name).exists()]


def most(means: Mapping[str, float]) -> str:
    """Return values by name as text: all, or the largest of many."""
    names = list(means) if len(means) <= MOST else sorted(means, key=lambda name: -means[name])[:MOST]
    rest = f", and {len(means) - MOST} lower" if len(means) > MOST else ""
    return ", ".join(f"{name} {means[name]:.4g}" for name in names) + rest


def _path(folder: Path, name: str) -> Path:
    return folder / f"measures-{name}.jsonl"


def _compare(name: str, before: Path, after: Path) -> dict[str, dict[str, float]]:
    check_settings(name, before, after, seed=True)
    first, second = _read(_path(before, name)), _read(_path(after, name))
    if {id: (group, values.keys()) for id, (group, values) in first.items()} != {
        id: (group, values.keys()) for id, (group, values) in second.items()
    }:
        raise DataError(
            f"{name} was measured on different texts, or in other tokens, in {before} and {after}. Evaluate both "
            f"with one recipe, and models of one tokenizer."
        )
    # Values that were measured on the same texts, such as the scores of all heads, are resampled together.
    shared: dict[tuple[str, ...], list[str]] = {}
    for value in dict.fromkeys(value for _, values in first.values() for value in values):
        shared.setdefault(tuple(id for id in first if value in first[id][1]), []).append(value)
    rows: dict[str, dict[str, float]] = {}
    for ids, values in shared.items():
        old, new = (np.array([[side[id][1][name] for name in values] for id in ids]) for side in (first, second))
        rows |= dict(zip(values, table(old, new, [first[id][0] for id in ids]), strict=True))
    return rows


def _read(path: Path) -> Measured:
    measured: Measured = {}
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            each = json.loads(line)
            values = {str(name): float(value) for name, value in each["values"].items()}
            measured[each["id"]] = (each["group"], values)
            if not all(map(isfinite, values.values())):
                raise ValueError("not finite")
        except (ValueError, TypeError, KeyError, AttributeError):
            raise DataError(f"{path}, line {number}: not a measurement with id, group and finite values.") from None
    return measured


def printed(comparison: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Table:
    """Return the measures of a comparison as a table for the terminal; of many values those that changed most."""
    from rich.box import SIMPLE
    from rich.table import Table

    result = Table(box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("measure", "n", "contexts", "before", "after", "change", "95 % interval", "p"):
        result.add_column(heading, justify="left" if heading == "measure" else "right")
    for name, rows in comparison.items():
        result.add_row(name, style="bold")
        for value in sorted(rows, key=lambda value: -abs(rows[value]["change"]))[:MOST] if len(rows) > MOST else rows:
            row = rows[value]
            counts, numbers = (
                [f"{row[each]:{form}}".replace("-", "\N{MINUS SIGN}") for each in names]
                for form, names in ((",", ("n", "clusters")), (".4g", ("before", "after", "change", "low", "high")))
            )
            span = f"{numbers[3]} to {numbers[4]}"
            result.add_row(f"  {value}", *counts, *numbers[:3], span, p_value(row["p"]).removeprefix("= "))
        if len(rows) > MOST:
            result.add_row(f"  {len(rows) - MOST} more", style="dim")
    return result


def table(before: Floats, after: Floats, groups: list[str]) -> list[dict[str, float]]:
    """Return a row of means, change, interval and p for each of V values measured on N things.

    Args:
        before: Shape [N, V].
        after: Shape [N, V].
        groups: The cluster of each of the N.
    """
    names, index = np.unique(groups, return_inverse=True)
    member = np.eye(len(names))[:, index]
    sums, sizes = member @ (after - before), member.sum(1)
    # Some values at a time: a large model has thousands of heads.
    pieces = [sums[:, at : at + 256] for at in range(0, sums.shape[1], 256)]
    lows, highs = np.concatenate([_intervals(piece, sizes) for piece in pieces], axis=1)
    ps = np.concatenate([_p_values(piece) for piece in pieces])
    columns = (before.mean(0), after.mean(0), (after - before).mean(0), lows, highs, ps)
    labels = ("before", "after", "change", "low", "high", "p")
    count = {"n": len(groups), "clusters": len(names)}
    return [
        count | {label: round(float(number), 6) for label, number in zip(labels, numbers, strict=True)}
        for numbers in zip(*columns, strict=True)
    ]


def _intervals(sums: Floats, sizes: Floats) -> Floats:
    """Return the ends of the interval of each mean, [2, V], from sums [C, V] and sizes [C] of clusters."""
    from scipy.stats import t

    count = len(sizes)
    if count < 2:
        raise DataError("an interval needs measurements of at least 2 articles or haystacks, and there is 1.")
    drawn = resampled(np.hstack([sums, sizes[:, None]]))
    tail = expanded_tail(count)
    ends: Floats = np.quantile(drawn[:, :-1] / drawn[:, -1:], [tail, 1 - tail], axis=0)
    if count < FEW:
        # So few are hardly resampled; the t interval of the cluster-robust variance is wider.
        middle = sums.sum(0) / sizes.sum()
        error = np.sqrt(count / (count - 1) * ((sums - sizes[:, None] * middle) ** 2).sum(0)) / sizes.sum()
        reach = t.ppf((1 + LEVEL) / 2, count - 1) * error
        ends = np.stack([np.minimum(ends[0], middle - reach), np.maximum(ends[1], middle + reach)])
    return ends


def _p_values(sums: Floats) -> Floats:
    """Return the two-sided p of no change of each value, from sums of clusters, shape [C, V]."""
    count = len(sums)
    if count <= EXACT:
        signs = 1.0 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
    else:
        signs = 1.0 - 2 * np.random.default_rng(0).integers(0, 2, (RESAMPLES, count))
    observed = np.abs(sums.sum(0))
    # Sums of the same numbers in another order differ in their last bits.
    far = (np.abs(signs @ sums) >= observed * (1 - 1e-9) - 1e-15).sum(0)
    # What was observed counts as one of the random patterns, so that no p is 0 (Phipson and Smyth 2010).
    extra = count > EXACT
    p: Floats = (far + extra) / (len(signs) + extra)
    return p
