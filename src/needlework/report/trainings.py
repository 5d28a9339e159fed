"""Statistics of the mean of several trainings: what another seed would have given, besides other questions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from needlework.report.statistics import (
    LEVEL,
    Floats,
    change_interval,
    clopper_pearson,
    cluster_sums,
    exact_p,
    rate_interval,
)

FEWEST = 3
"""Of two trainings that differ by ten points the intervals cover 90 %, of three 92 % (docs/statistics.md)."""


def mean_variance(values: npt.ArrayLike, clusters: npt.ArrayLike) -> tuple[float, float]:
    """Return the variance of a mean over questions and trainings, both drawn at random, and its degrees of freedom.

    It is the cluster-robust variance of the questions plus that of the trainings' means. Each of the two holds the
    variance of a single answer, so their sum is rather too large. The degrees of freedom are Satterthwaite's (1946),
    as Judd, Westfall and Kenny (2012) use them where persons answer the same questions.

    Args:
        values: An outcome, or a difference of two, of each needle and training, shape [N, R], R at least 2.
        clusters: The cluster of each needle, shape [N].
    """
    table = np.asarray(values, dtype=np.float64)
    number, runs = table.shape
    count = len(np.unique(np.asarray(clusters)))
    if count < 2:
        return math.inf, 1.0  # one cluster says nothing about how clusters vary
    means = table.mean(axis=1)
    sums, sizes = cluster_sums(means, clusters)
    of_questions = count / (count - 1) * float(np.sum((sums - sizes * means.mean()) ** 2)) / number**2
    of_trainings = float(table.mean(axis=0).var(ddof=1)) / runs
    total = of_questions + of_trainings
    if total == 0:
        return 0.0, math.inf
    return total, total**2 / (of_questions**2 / (count - 1) + of_trainings**2 / (runs - 1))


def mean_row(before: npt.ArrayLike, after: npt.ArrayLike, clusters: npt.ArrayLike) -> dict[str, Any]:
    """Return the row of a comparison of one model with the mean of several that were made from it.

    Rates and change are means over the trainings. Interval and p are never narrower or smaller than those of the same
    trainings on other questions, which see nothing of how trainings differ.

    Args:
        before: One outcome, 0 or 1, each needle, shape [N].
        after: One of each needle and training, shape [N, R].
        clusters: The cluster of each needle, shape [N].
    """
    from scipy.stats import t

    before, after = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    differences = after - before[:, None]
    change, (variance, degrees) = differences.mean(axis=1), mean_variance(differences, clusters)
    low, high = change_interval(change, clusters)
    reach = float(t.ppf((1 + LEVEL) / 2, degrees)) * math.sqrt(variance)
    p = exact_p(np.rint(change * after.shape[1]), clusters)
    if variance > 0:
        p = max(p, 2 * float(t.sf(abs(change.mean()) / math.sqrt(variance), degrees)))
    numbers = {
        "before": before.mean(),
        "after": after.mean(),
        "change": change.mean(),
        "low": max(-1.0, min(low, change.mean() - reach)),
        "high": min(1.0, max(high, change.mean() + reach)),
        "effective_clusters": len(change) ** 2 / np.sum(cluster_sums(change, clusters)[1] ** 2),
    }
    numbers["before_low"], numbers["before_high"] = rate_interval(before, clusters)
    numbers["after_low"], numbers["after_high"] = mean_rate_interval(after, clusters)
    count = {"n": len(before), "clusters": len(np.unique(np.asarray(clusters)))}
    return count | {name: round(float(number), 6) for name, number in numbers.items()} | {"p": p}


def mean_rate_interval(hits: Floats, clusters: npt.ArrayLike) -> tuple[float, float]:
    """Return a confidence interval of a rate over questions and trainings, as `rate_interval` makes it of questions.

    Args:
        hits: One outcome of each needle and training, shape [N, R].
        clusters: The cluster of each needle, shape [N].
    """
    from scipy.stats import norm, t

    rate, (variance, degrees) = float(hits.mean()), mean_variance(hits, clusters)
    if math.isinf(variance):
        return 0.0, 1.0
    if rate in (0, 1) or variance < 1e-12:
        effective = float(len(np.unique(np.asarray(clusters))))  # neither clusters nor trainings differ
    else:
        tail = (1 - LEVEL) / 2
        effective = min(len(hits), rate * (1 - rate) / variance * (norm.ppf(tail) / t.ppf(tail, degrees)) ** 2)
    return clopper_pearson(effective * rate, effective)
