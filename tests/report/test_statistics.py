from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_rel
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from needlework.report.statistics import (
    RESAMPLES,
    _picks,
    change_interval,
    clusters_of,
    contrast,
    design_effect,
    exact_p,
    holm,
    rate_interval,
    row,
)
from speed.coverage import Design, coverage, dip_coverage, judgements


def test_with_single_needles_p_is_the_exact_mcnemar_test() -> None:
    for gained, lost in ((9, 1), (5, 5), (0, 3), (30, 12), (0, 0)):
        differences = [1] * gained + [-1] * lost + [0] * 40
        expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
        assert exact_p(differences, range(len(differences))) == pytest.approx(expected, abs=1e-12)
        if gained + lost:
            same = mcnemar([[20, lost], [gained, 20]], exact=True).pvalue
            assert exact_p(differences, range(len(differences))) == pytest.approx(same, abs=1e-12)


def test_with_clusters_p_is_the_count_of_all_sign_patterns() -> None:
    sums = [3, -1, 2, 2, 0, 1, -2]
    differences = [np.sign(each) for each in sums for _ in range(max(1, abs(each)))]
    clusters = [index for index, each in enumerate(sums) for _ in range(max(1, abs(each)))]
    observed = abs(sum(sums))
    patterns = list(itertools.product((1, -1), repeat=len(sums)))
    far = sum(abs(sum(sign * each for sign, each in zip(signs, sums, strict=True))) >= observed for signs in patterns)
    assert exact_p(differences, clusters) == pytest.approx(far / len(patterns), abs=1e-12)


def test_p_is_the_same_in_both_directions() -> None:
    rng = np.random.default_rng(0)
    differences, clusters = rng.integers(-1, 2, 60), rng.integers(0, 20, 60)
    assert exact_p(differences, clusters) == pytest.approx(exact_p(-differences, clusters), abs=1e-12)


def test_false_alarms_are_no_more_than_five_per_cent() -> None:
    rng, alarms = np.random.default_rng(1), 0
    clusters = np.repeat(np.arange(40), 3)
    for _ in range(1000):
        # Needles of one cluster change together, half of the time.
        shared = np.repeat(rng.integers(-1, 2, 40), 3)
        own = rng.integers(-1, 2, 120)
        differences = np.where(rng.random(120) < 0.5, shared, own)
        alarms += exact_p(differences, clusters) < 0.05
    assert alarms / 1000 < 0.065


def test_without_clusters_the_interval_is_nearly_that_of_the_paired_t_test() -> None:
    rng = np.random.default_rng(2)
    before, after = rng.random(300) < 0.3, rng.random(300) < 0.45
    expected = ttest_rel(after.astype(float), before.astype(float)).confidence_interval(0.95)
    found = change_interval(after.astype(float) - before, range(300))
    assert found == pytest.approx((expected.low, expected.high), abs=0.005)


def test_copies_of_a_needle_do_not_narrow_the_interval() -> None:
    values = (np.random.default_rng(3).random(80) < 0.4).astype(float)
    for interval in (rate_interval, change_interval):
        single = interval(values, range(80))
        assert interval(np.repeat(values, 5), np.repeat(np.arange(80), 5)) == pytest.approx(single, abs=1e-9)


def test_the_interval_of_a_rate_is_clopper_and_pearsons_without_clusters() -> None:
    hits = np.random.default_rng(4).random(3000) < 0.1
    expected = binomtest(int(hits.sum()), 3000).proportion_ci(0.95)
    assert rate_interval(hits, range(3000)) == pytest.approx((expected.low, expected.high), abs=2e-5)
    # Three alike in each of 1,000 clusters are worth 1,000; so are 999, by the variance of a sample, and Student's t.
    tripled = rate_interval(np.repeat(hits[:1000], 3), np.repeat(range(1000), 3))
    single = binomtest(int(hits[:1000].sum()), 1000).proportion_ci(0.95)
    assert tripled == pytest.approx((single.low, single.high), abs=1e-4)


@pytest.mark.parametrize(
    "design",
    [Design(50, 4, 0.3, 0.4, 0.5), Design(80, 1, 0.5, 0.5, 0.5), Design(60, -6, 0.4, 0.4, 0.8)],
    ids=["clusters of 4", "single needles", "clusters of 1 to 6"],
)
def test_intervals_cover_and_false_alarms_are_few(design: Design) -> None:
    found = coverage(design, 400)
    assert 0.94 <= found["rate"] <= 0.98
    assert 0.93 <= found["change"] <= 0.97
    if design.before == design.after:
        assert found["p"] <= 0.06


def test_the_interval_of_a_middle_dip_covers_it() -> None:
    assert 0.93 <= dip_coverage(Design(50, 2, 0, 0, 0.5), 400) <= 0.97


def test_the_gate_rarely_passes_a_loss_as_large_as_the_margin() -> None:
    assert judgements(80, 1, 0.05, 0.0, False, 0.05, 300)["no harm"] < 0.05
    assert judgements(80, 1, 0.1, 0.05, False, 0.05, 300)["harm"] < 0.05


def test_resamples_do_not_depend_on_how_many_are_drawn_at_once() -> None:
    count = 1000
    whole = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    assert (_picks(count) == whole).all()


def test_a_contrast_of_one_stratum_is_the_mean() -> None:
    rng = np.random.default_rng(5)
    values, clusters = (rng.random(120) < 0.4).astype(float), rng.integers(0, 30, 120)
    found = contrast(values, clusters, np.zeros(120, dtype=int), [1.0])
    assert found == pytest.approx((values.mean(), *change_interval(values, clusters)))


def test_a_contrast_of_paired_strata_is_the_mean_of_their_differences() -> None:
    rng = np.random.default_rng(6)
    first, last = (rng.random((2, 80)) < 0.5).astype(float)
    found = contrast(np.concatenate([first, last]), np.tile(range(80), 2), np.repeat([0, 1], 80), [1.0, -1.0])
    assert found == pytest.approx(((first - last).mean(), *change_interval(first - last, range(80))))


def test_strata_without_weight_leave_a_contrast_alone() -> None:
    hits = np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1], [0, 0, 1], [1, 1, 0]])
    clusters, strata = np.repeat(np.arange(6), 3), np.tile(np.arange(3), 6)
    without = contrast(hits[:, [0, 2]].ravel(), np.repeat(np.arange(6), 2), np.tile([0, 1], 6), [1.0, -1.0])
    assert contrast(hits.ravel(), clusters, strata, [1.0, 0.0, -1.0]) == pytest.approx(without)
    # Where nothing else varied, the width is that of so few clusters.
    hits[:, :2] = 1
    found = contrast(hits.ravel(), clusters, strata, [1.0, -1.0, 0.0])
    assert found == pytest.approx((0, -(1 - 0.025 ** (1 / 6)), 1 - 0.025 ** (1 / 6)))


def test_a_stratum_that_was_hardly_asked_says_nothing() -> None:
    values, clusters, strata = [1] + [0, 1] * 20, [0, *range(1, 41)], [0] + [1] * 40
    assert contrast(values, clusters, strata, [1.0, -1.0])[1:] == (-1.0, 1.0)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (0, 3), (2, 3)])
def test_what_happened_in_few_clusters_leaves_open_what_their_numbers_do(gained: int, lost: int) -> None:
    differences = [1] * gained + [-1] * lost + [0] * (20 - gained - lost)
    low, high = change_interval(differences, range(20))
    gains, losses = (binomtest(each, 20).proportion_ci(method="exact") for each in (gained, lost))
    assert low <= gains.low - losses.high + 1e-9
    assert high >= gains.high - losses.low - 1e-9
    # So few cannot show a change, and none is claimed.
    assert low <= 0 <= high


def test_few_clusters_show_no_change_whatever_they_agree_on() -> None:
    low, high = change_interval([-1] * 100, np.repeat(np.arange(5), 20))
    assert low == -1.0
    assert high > 0


def test_holm_is_that_of_statsmodels() -> None:
    for ps in ([0.01, 0.04, 0.03, 0.005], [0.5], [0.2, 0.2, 0.9], [1e-9, 0.3, 0.3, 0.012, 1.0]):
        assert holm(ps) == pytest.approx(multipletests(ps, method="holm")[1].tolist())
    assert holm([]) == []


def test_the_design_effect_is_that_of_the_cluster_robust_variance() -> None:
    rng = np.random.default_rng(7)
    clusters = rng.integers(0, 25, 200)
    values = np.sign(rng.standard_normal(25)[clusters] + rng.standard_normal(200))
    model = OLS(values, np.ones(200))
    robust = model.fit(cov_type="cluster", cov_kwds={"groups": clusters}).cov_params()[0, 0]
    assert design_effect(values, clusters) == pytest.approx(robust / model.fit().cov_params()[0, 0])
    assert design_effect(values, range(200)) == pytest.approx(1)
    assert design_effect([1, 1, 1], [0, 1, 2]) == 1
    assert design_effect([1, 0, 1], [0, 0, 0]) == 3


def test_one_cluster_says_nothing() -> None:
    assert rate_interval([1, 1, 0], [0, 0, 0]) == (0.0, 1.0)
    assert change_interval([1, -1, -1], [0, 0, 0]) == (-1.0, 1.0)


def test_what_never_happened_is_bounded_by_the_number_of_clusters() -> None:
    bound = 1 - 0.025 ** (1 / 20)  # Clopper-Pearson, 0 of 20
    assert binomtest(0, 20).proportion_ci(0.95).high == pytest.approx(bound)
    assert rate_interval([0] * 20, range(20)) == pytest.approx((0, bound))
    assert rate_interval([1] * 40, np.repeat(range(20), 2)) == pytest.approx((1 - bound, 1))
    assert rate_interval([1, 0] * 20, np.repeat(range(20), 2)) == pytest.approx(binomtest(10, 20).proportion_ci(0.95))
    assert change_interval([0] * 20, range(20)) == pytest.approx((-bound, bound))


def test_clusters_join_needles_that_share_a_haystack_or_a_question() -> None:
    haystacks = ["h1", "h1", "h2", "h3", "h4", "h5"]
    groups = ["a", "b", "a", "c", "c", "d"]
    labels = clusters_of(haystacks, groups)
    assert labels[0] == labels[1] == labels[2]
    assert labels[3] == labels[4]
    assert len({labels[0], labels[3], labels[5]}) == 3


def test_a_row_has_rates_change_and_counts() -> None:
    found = row([0, 0, 1, 1], [1, 1, 1, 0], [0, 1, 2, 3])
    assert (found["n"], found["clusters"]) == (4, 4)
    assert (found["before"], found["after"], found["change"]) == (0.5, 0.75, 0.25)
    assert found["low"] <= 0.25 <= found["high"]
    assert found["p"] == pytest.approx(binomtest(2, 3).pvalue)
