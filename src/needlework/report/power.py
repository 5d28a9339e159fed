"""How many needles a further evaluation needs, by what this one saw of discordance and clustering."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from needlework.report.statistics import LEVEL

POWER = 0.8
"""The chance of seeing a change that is there: the field's custom (Cohen 1988)."""


@dataclass(frozen=True)
class Needed:
    """The size of an evaluation like the one that was seen, with as many needles in a cluster."""

    needles: int
    clusters: int


def needed(row: Mapping[str, float], change: float, *, null: float = 0.0) -> Needed:
    """Return how many needles tell a change from another one with 80 % power, at a two-sided level of 5 %.

    The number of Connor (1987) for paired proportions, times the design effect (Kish 1965):

        n = deff ((z_0.975 sqrt(psi - null^2) + z_0.8 sqrt(psi - change^2)) / (change - null))^2

    psi is the share of discordant needles: those seen that cancel out, twice the rarer of gains and losses, plus the
    larger of |change| and |null|. deff is at least 1: a few needles that happen to spread out are no promise
    that others do.

    Args:
        row: A row of comparison.json, with its n, clusters, change, discordant and design_effect.
        change: The change that is there, as a rate.
        null: The change to tell it from.
    """
    from scipy.stats import norm

    psi = row["discordant"] - abs(row["change"]) + max(abs(change), abs(null))
    spread = norm.ppf((1 + LEVEL) / 2) * math.sqrt(psi - null**2) + norm.ppf(POWER) * math.sqrt(psi - change**2)
    size = row["n"] / row["clusters"]
    clusters = math.ceil(max(1.0, row["design_effect"]) * (spread / (change - null)) ** 2 / size)
    return Needed(math.ceil(clusters * size), clusters)
