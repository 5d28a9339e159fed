from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t, ttest_1samp
from statsmodels.regression.linear_model import OLS

from needlework.report.statistics import change_interval, exact_p, rate_interval
from needlework.report.trainings import mean_rate_interval, mean_row, mean_variance
from speed.coverage import Trainings, mean_coverage


def drawn(seed: int = 0, needles: int = 60, runs: int = 3) -> np.ndarray:
    return (np.random.default_rng(seed).random((needles, runs)) < 0.4).astype(float)


def test_copies_of_one_training_have_the_variance_of_its_clusters() -> None:
    clusters = np.repeat(np.arange(20), 3)
    single = drawn(runs=1)
    variance, degrees = mean_variance(np.repeat(single, 4, axis=1), clusters)
    fit = OLS(single[:, 0], np.ones(60)).fit(cov_type="cluster", cov_kwds={"groups": clusters, "use_correction": True})
    # statsmodels' correction has N - 1 over N - 1 besides, which is 1 for a mean.
    assert variance == pytest.approx(fit.cov_params()[0][0])
    assert degrees == pytest.approx(19)


def test_trainings_that_each_answer_all_alike_have_the_t_interval_of_their_means() -> None:
    # Each training gains the same on every needle, so that questions do not vary.
    gains = np.array([0.0, 1.0, 1.0, 1.0])
    variance, degrees = mean_variance(np.tile(gains, (30, 1)), range(30))
    expected = ttest_1samp(gains, 0).confidence_interval(0.95)
    assert degrees == pytest.approx(3)
    assert gains.mean() + t.ppf(0.975, degrees) * math.sqrt(variance) == pytest.approx(expected.high)


def test_an_interval_is_never_narrower_than_that_of_the_questions_alone() -> None:
    before, after = drawn(1, runs=1)[:, 0], drawn(2)
    row, change = mean_row(before, after, range(60)), after.mean(axis=1) - before
    low, high = change_interval(change, range(60))
    assert row["low"] <= low + 1e-6
    assert row["high"] >= high - 1e-6
    assert row["p"] >= exact_p(np.rint(3 * change), range(60))
    assert row["change"] == pytest.approx(change.mean(), abs=1e-6)


def test_trainings_that_differ_widen_interval_and_p() -> None:
    before = np.zeros(90)
    alike = np.zeros((90, 3))
    alike[:30] = 1
    unlike = np.zeros((90, 3))
    unlike[:, 0] = 1
    rows = [mean_row(before, after, range(90)) for after in (alike, unlike)]
    assert rows[0]["change"] == rows[1]["change"] == pytest.approx(1 / 3, abs=1e-6)
    assert rows[0]["low"] > 0.2
    assert rows[0]["p"] < 1e-6
    assert rows[1]["low"] < 0
    assert rows[1]["p"] > 0.3


def test_a_mean_in_which_nothing_changed_claims_no_certainty() -> None:
    row = mean_row(np.ones(40), np.ones((40, 3)), range(40))
    assert (row["change"], row["p"]) == (0, 1)
    assert row["low"] == pytest.approx(-row["high"])
    assert row["high"] > 0.08
    assert (row["after_low"], row["after_high"]) == pytest.approx(rate_interval(np.ones(40), range(40)), abs=1e-6)


def test_changes_that_cancel_out_but_for_rounding_are_none() -> None:
    # Eight clusters of four, in which as much was gained as lost, and 52 in which nothing changed.
    change = np.array([2 / 3, 2 / 3, -1, -1 / 3] * 8 + [0] * 52)
    low, high = change_interval(change, [*np.repeat(range(8), 4), *range(8, 60)])
    assert high == -low == pytest.approx(1 - 0.025 ** (1 / 60), abs=1e-6)


def test_one_cluster_says_nothing() -> None:
    row = mean_row(np.zeros(4), np.ones((4, 3)), [0, 0, 0, 0])
    assert (row["low"], row["high"], row["after_low"], row["after_high"]) == (-1, 1, 0, 1)


def test_the_rate_of_copies_of_one_training_is_nearly_that_of_one() -> None:
    hits, clusters = drawn(3, 120, 1), np.repeat(np.arange(40), 3)
    found = mean_rate_interval(np.repeat(hits, 3, axis=1), clusters)
    assert found == pytest.approx(rate_interval(hits[:, 0], clusters), abs=0.005)


@pytest.mark.parametrize("spread", [0.0, 0.3])
def test_intervals_cover_questions_and_trainings(spread: float) -> None:
    found = mean_coverage(Trainings(50, 4, 0.3, 0.4, spread=spread), 300)
    # 92 to 98 % over 1,000 trials in docs/statistics.md; the standard error of 300 is 1.6 points.
    assert found["change"] > 0.88
    assert found["rate"] > 0.88
