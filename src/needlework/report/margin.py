"""Non-inferiority: whether a loss beyond a margin is ruled out, shown, or neither."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from needlework.report.power import Needed, needed
from needlework.report.statistics import LEVEL

MARGIN = 0.02
"""The loss, as a rate, below which a benchmark counts as kept, unless the user says another."""

Judgement = Literal["no harm", "harm", "too few"]


def judge(row: Mapping[str, float], margin: float = MARGIN) -> Judgement:
    """Say whether the loss is smaller than a margin, larger, or either.

    As CONSORT reads a non-inferiority trial (Piaggio et al. 2012): no harm if the 95 % interval of the change lies
    wholly above -margin, harm if it lies wholly below, else undecided. Where few answers changed, a bootstrap
    promises too much: it resamples the few. "No harm" therefore also requires a score test with the variance of a loss
    of just the margin, margin x (1 - margin), over the effective number of clusters. docs/statistics.md has the error
    rates.

    Args:
        row: A row of comparison.json, of which clusters, effective_clusters, change, low and high are read.
        margin: The largest loss that is no harm, as a rate.
    """
    from scipy.stats import norm

    if row["high"] < -margin:
        return "harm"
    score = (row["change"] + margin) / math.sqrt(margin * (1 - margin) / _effective(row))
    return "no harm" if row["low"] > -margin and score > norm.ppf((1 + LEVEL) / 2) else "too few"


def needed_to_judge(row: Mapping[str, float], margin: float) -> Needed | None:
    """Return how many needles would decide with 80 % power, assuming the observed loss, or no change after a gain.

    None if the loss equals the margin, because no number would decide.
    """
    change = min(0.0, row["change"])
    if change == -margin:
        return None
    # As many clusters as needles alone take of which nothing else changed: the score test counts clusters.
    least = needed({"n": 1, "clusters": 1, "change": 0, "discordant": 0, "design_effect": 1}, change, null=-margin)
    found = needed(row, change, null=-margin)
    clusters = max(math.ceil(least.clusters * row["clusters"] / _effective(row)), found.clusters)
    return Needed(round(clusters * row["n"] / row["clusters"]), clusters)


def _effective(row: Mapping[str, float]) -> float:
    """Return how many clusters of equal size there are: by the squares of their sizes (Kish 1965)."""
    return row.get("effective_clusters", row["clusters"])
