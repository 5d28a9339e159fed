"""Paired statistics of yes-or-no outcomes in clusters.

A question asked at three gold positions is not three independent observations, nor are two questions
about one paragraph. Outcomes are therefore paired by needle and resampled by cluster. docs/statistics.md has the
formulas with their sources, and how often the intervals cover and the tests raise a false alarm.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

RESAMPLES = 10_000
LEVEL = 0.95

FEW = 6
"""Fewer clusters cannot show a change: 2 of their 2^5 sign patterns are as far off as any, which is p = 0.0625."""

_AT_ONCE = 1 << 23
"""Numbers of a large table worked on at a time, which bounds the memory."""


def cluster_sums(values: npt.ArrayLike, clusters: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Return the sum of the values of each cluster, and its size, both of shape [C]."""
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.bincount(index, weights=np.asarray(values, dtype=np.float64))
    return sums.astype(np.float64), np.bincount(index).astype(np.float64)


def rate_interval(hits: npt.ArrayLike, clusters: npt.ArrayLike) -> tuple[float, float]:
    """Return a confidence interval of a rate: Clopper and Pearson's, of as many needles as the clusters are worth.

    Korn and Graubard (Survey Methodology 1998) divide the needles by the design effect, and make up for a variance that
    is estimated from few clusters. Near 0 and 1 a bootstrap covers less than it says.

    Args:
        hits: One outcome, 0 or 1, each needle, shape [N].
        clusters: The cluster of each, shape [N].
    """
    from scipy.stats import norm, t

    count, number = len(np.unique(np.asarray(clusters))), np.size(hits)
    rate = float(np.asarray(hits, dtype=np.float64).mean())
    if count < 2:
        # One cluster says nothing about how clusters vary.
        return 0.0, 1.0
    tail, deff = (1 - LEVEL) / 2, design_effect(hits, clusters)
    if rate in (0, 1) or deff < 1e-9:
        effective = float(count)  # No cluster differs from another.
    else:
        effective = min(number, (number - 1) / deff * (norm.ppf(tail) / t.ppf(tail, count - 1)) ** 2)
    return clopper_pearson(effective * rate, effective)


def change_interval(differences: npt.ArrayLike, clusters: npt.ArrayLike) -> tuple[float, float]:
    """Return a confidence interval of a change by cluster bootstrap.

    It is the expanded percentile interval (Hesterberg 2015, section 4.3): the percentile interval at a
    level that makes up for the bootstrap's narrowness with few clusters. Where fewer than `FEW` clusters changed, it
    resamples those few over and over; the interval then also holds what their numbers leave open.

    Args:
        differences: The difference of two outcomes of each needle, shape [N].
        clusters: The cluster of each, shape [N].
    """
    sums, sizes = cluster_sums(differences, clusters)
    sums = sums.round(9)  # of several trainings, differences are fractions that cancel out but for rounding
    low, high = _bootstrap(sums[:, None], sizes[:, None], np.ones(1))
    gained, lost, count = int((sums > 0).sum()), int((sums < 0).sum()), len(sums)
    if gained + lost < FEW:
        (least_gain, most_gain), (least_loss, most_loss) = (clopper_pearson(each, count) for each in (gained, lost))
        low, high = min(low, least_gain - most_loss), max(high, most_gain - least_loss)
    return max(-1.0, low), min(1.0, high)


def clopper_pearson(seen: float, count: float) -> tuple[float, float]:
    """Return the exact interval of a rate (Clopper and Pearson 1934), given how many of a count were seen."""
    from scipy.stats import beta

    tail = (1 - LEVEL) / 2
    low = beta.ppf(tail, seen, count - seen + 1) if seen > 0 else 0.0
    high = beta.ppf(1 - tail, seen + 1, count - seen) if seen < count else 1.0
    return float(low), float(high)


def contrast(
    values: npt.ArrayLike,
    clusters: npt.ArrayLike,
    strata: npt.ArrayLike,
    weights: Sequence[float],
    *,
    signed: bool = False,
) -> tuple[float, float, float]:
    """Return a weighted sum of the means of several strata, and its confidence interval by cluster bootstrap.

    Args:
        values: One outcome, or one difference of two outcomes, each needle, shape [N].
        clusters: The cluster of each, shape [N].
        strata: The stratum of each, such as its gold position, from 0 and less than S, shape [N].
        weights: The weight of each stratum's mean, shape [S]; the sum of their positive ones is 1, as is that of
            their negative ones without the sign.
        signed: Whether values may be negative, as differences are.
    """
    values, strata, weighted = np.asarray(values, dtype=np.float64), np.asarray(strata), np.asarray(weights)
    # What has no weight must not make what has seem to vary.
    counted = weighted[strata] != 0
    labels, index = np.unique(np.asarray(clusters)[counted], return_inverse=True)
    sums, sizes = np.zeros((2, len(labels), len(weighted)))
    np.add.at(sums, (index, strata[counted]), values[counted])
    np.add.at(sizes, (index, strata[counted]), 1)
    sums, sizes, weighted = sums[:, weighted != 0], sizes[:, weighted != 0], weighted[weighted != 0]
    most = 2.0 if signed else 1.0
    # A stratum that was hardly asked would not seem to vary.
    is_known = bool(((sizes > 0).sum(axis=0) >= FEW).all())
    low, high = _bootstrap(sums, sizes, weighted) if is_known else (-most, most)
    return float(sums.sum(0) / sizes.sum(0) @ weighted), max(-most, low), min(most, high)


def _bootstrap(sums: Floats, sizes: Floats, weights: Floats) -> tuple[float, float]:
    """Return the interval of the weighted sum of strata's means, given sums and sizes of shape [C, S]."""
    count, tail = len(sums), (1 - LEVEL) / 2
    if count < 2:
        # One cluster says nothing about how clusters vary.
        return -np.inf, np.inf
    with np.errstate(invalid="ignore"):
        means = sums / sizes
        if np.all(np.nanmax(means, axis=0) == np.nanmin(means, axis=0)):
            # Resampling cannot see what happened in no cluster; so many clusters rule out rarer events only.
            unseen = 1 - tail ** (1 / (sizes > 0).sum(axis=0).min())
            point = float(np.nanmax(means, axis=0) @ weights)
            return float(point - unseen), float(point + unseen)
        # A resample without any needle of some stratum has no mean there, and is left out.
        drawn = resampled(np.hstack([sums, sizes]))
        draws = (drawn[:, : len(weights)] / drawn[:, len(weights) :]) @ weights
    expanded = expanded_tail(count)
    low, high = np.nanquantile(draws, [expanded, 1 - expanded])
    return float(low), float(high)


def expanded_tail(count: int) -> float:
    """Return the share of resamples of so many clusters that each end of an interval leaves out.

    It is less than the nominal share, so that intervals of few clusters are as wide as they have to be (Hesterberg
    2015, section 4.3).
    """
    from scipy.stats import norm, t

    return float(norm.cdf(np.sqrt(count / (count - 1)) * t.ppf((1 - LEVEL) / 2, count - 1)))


def resampled(columns: Floats) -> Floats:
    """Return each resample's sum over the clusters it drew: from shape [C, K] to [RESAMPLES, K]."""
    picks = _picks(len(columns))
    # Converted to floating point bit by bit: as a whole it would take eight times the room.
    parts = np.array_split(picks, -(-picks.size // _AT_ONCE))
    return np.concatenate([part.astype(np.float64) @ columns for part in parts])


@functools.lru_cache(maxsize=2)
def _picks(count: int) -> npt.NDArray[np.uint8]:
    """Return how often each of so many clusters is in each resample, shape [RESAMPLES, count].

    They are the same for each score and each run, which are thereby resampled alike, and are kept for the next.
    """
    rng, chances = np.random.default_rng(0), np.full(count, 1 / count)
    picks = np.empty((RESAMPLES, count), dtype=np.uint8)  # none is drawn 256 times: the chance is below 1e-500
    for part in np.array_split(picks, -(-picks.size // _AT_ONCE)):
        part[:] = rng.multinomial(count, chances, size=len(part))
    return picks


def exact_p(differences: npt.ArrayLike, clusters: npt.ArrayLike) -> float:
    """Return the two-sided p of no change, by the exact sign-flip test on clusters.

    Under the null each cluster's summed difference is as likely to have the other sign. All 2^C sign
    patterns are counted by convolution, so the p is exact. With clusters of one needle it is the
    exact McNemar test.

    Args:
        differences: After minus before of each needle, each -1, 0 or 1, shape [N].
        clusters: The cluster of each, shape [N].
    """
    sums = np.abs(cluster_sums(differences, clusters)[0]).astype(np.int64)
    sums = sums[sums > 0]
    observed = abs(int(np.sum(cluster_sums(differences, clusters)[0])))
    total = int(sums.sum())
    # chances[total + s]: the chance that the signed sum is s.
    chances = np.zeros(2 * total + 1)
    chances[total] = 1.0
    for size in sums.tolist():
        chances = 0.5 * (np.roll(chances, size) + np.roll(chances, -size))
    far = np.abs(np.arange(-total, total + 1)) >= observed
    return float(min(1.0, chances[far].sum()))


def clusters_of(haystacks: list[str], groups: list[str]) -> npt.NDArray[np.int64]:
    """Number the clusters: needles that share a haystack or a question, directly or through others.

    Args:
        haystacks: The haystack of each needle, shape [N].
        groups: The question of each needle, shape [N].

    Returns:
        The cluster of each needle, shape [N].
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    _, rows = np.unique(haystacks, return_inverse=True)
    _, columns = np.unique(groups, return_inverse=True)
    columns = columns + rows.max() + 1
    nodes = int(columns.max()) + 1
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(nodes, nodes))
    labels = connected_components(graph, directed=False)[1]
    found: npt.NDArray[np.int64] = labels[rows].astype(np.int64)
    return found


def holm(ps: Sequence[float]) -> list[float]:
    """Return p adjusted for their number by Holm's procedure (1979), which holds whatever their dependence."""
    adjusted, largest = [0.0] * len(ps), 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = largest
    return adjusted


def design_effect(values: npt.ArrayLike, clusters: npt.ArrayLike) -> float:
    """Return by how much clustering multiplies the variance of the mean (Kish 1965), 1 where nothing varies.

    The variance is the cluster-robust one, C/(C - 1) times the sum over clusters of (sum - size x mean)^2 / N^2,
    against that of N independent values.
    """
    values = np.asarray(values, dtype=np.float64)
    sums, sizes = cluster_sums(values, clusters)
    count, number = len(sums), len(values)
    if count < 2:
        return float(number)  # as if all were one observation
    independent = values.var(ddof=1) / number
    clustered = count / (count - 1) * np.sum((sums - sizes * values.mean()) ** 2) / number**2
    return float(clustered / independent) if independent > 0 else 1.0


def row(before: npt.ArrayLike, after: npt.ArrayLike, clusters: npt.ArrayLike) -> dict[str, Any]:
    """Return one row of a comparison: rates between 0 and 1, intervals at 95 %, and the exact p.

    `discordant` is the share of needles that hit on one side only; with `design_effect`, that of the change, it says
    how many needles a further evaluation needs. `effective_clusters` is the equivalent number of clusters of equal
    size.
    """
    before, after = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    change = after - before
    numbers = {
        "before": before.mean(),
        "after": after.mean(),
        "change": change.mean(),
        "p": exact_p(change, clusters),
        "discordant": np.abs(change).mean(),
        "design_effect": design_effect(change, clusters),
        "effective_clusters": len(change) ** 2 / np.sum(cluster_sums(change, clusters)[1] ** 2),
    }
    numbers["before_low"], numbers["before_high"] = rate_interval(before, clusters)
    numbers["after_low"], numbers["after_high"] = rate_interval(after, clusters)
    numbers["low"], numbers["high"] = change_interval(change, clusters)
    count = {"n": len(before), "clusters": len(np.unique(np.asarray(clusters)))}
    return count | {name: round(float(number), 6) for name, number in numbers.items()} | {"p": numbers["p"]}
