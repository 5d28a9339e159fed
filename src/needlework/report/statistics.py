"""Paired statistics of yes-or-no outcomes in clusters.

A question asked at three gold positions is not three independent observations, nor are two questions
about one paragraph. Outcomes are therefore paired by needle and resampled by cluster.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

RESAMPLES = 10_000
LEVEL = 0.95


def cluster_sums(values: npt.ArrayLike, clusters: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Return the sum of the values of each cluster, and its size, both of shape [C]."""
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.bincount(index, weights=np.asarray(values, dtype=np.float64))
    return sums.astype(np.float64), np.bincount(index).astype(np.float64)


def interval(
    values: npt.ArrayLike, clusters: npt.ArrayLike, *, signed: bool = False, level: float = LEVEL
) -> tuple[float, float]:
    """Return a confidence interval of the mean by cluster bootstrap.

    It is the expanded percentile interval (Hesterberg 2015, section 4.3): the percentile interval at a
    level that makes up for the bootstrap's narrowness with few clusters.

    Args:
        values: One outcome, or one difference of two outcomes, each needle, shape [N].
        clusters: The cluster of each, shape [N].
        signed: Whether values may be negative, as differences are.
        level: Coverage.
    """
    from scipy.stats import norm, t

    sums, sizes = cluster_sums(values, clusters)
    count = len(sums)
    if count < 2:
        # One cluster says nothing about how clusters vary.
        return (-1.0 if signed else 0.0), 1.0
    means = sums / sizes
    if np.ptp(means) == 0:
        # Resampling cannot see what happened in no cluster; so many clusters rule out rarer events only.
        unseen = 1 - ((1 - level) / 2) ** (1 / count)
        lowest = -1.0 if signed else 0.0
        return max(lowest, float(means[0]) - unseen), min(1.0, float(means[0]) + unseen)
    rng = np.random.default_rng(0)
    picked = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    means = (picked @ sums) / (picked @ sizes)
    tail = norm.cdf(np.sqrt(count / (count - 1)) * t.ppf((1 - level) / 2, count - 1))
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


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


def row(before: npt.ArrayLike, after: npt.ArrayLike, clusters: npt.ArrayLike) -> dict[str, Any]:
    """Return one row of a comparison: rates between 0 and 1, intervals at 95 %, and the exact p."""
    before, after = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    change = after - before
    numbers = {
        "before": before.mean(),
        "after": after.mean(),
        "change": change.mean(),
        "p": exact_p(change, clusters),
    }
    for prefix, values in (("before_", before), ("after_", after), ("", change)):
        numbers[prefix + "low"], numbers[prefix + "high"] = interval(values, clusters, signed=prefix == "")
    count = {"n": len(before), "clusters": len(np.unique(np.asarray(clusters)))}
    return count | {name: round(float(number), 6) for name, number in numbers.items()} | {"p": numbers["p"]}
