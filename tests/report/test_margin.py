from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.proportion import proportions_ztest

from needlework.report.margin import judge, needed_to_judge
from needlework.report.statistics import row
from tests.report import conftest


def found(change: float, low: float, high: float, n: int = 1000) -> dict[str, float]:
    return conftest.row(0.4, 0.4 + change, low, high, n=n)


def test_an_interval_above_the_margin_is_no_harm() -> None:
    assert judge(found(0.0, -0.019, 0.019), 0.02) == "no harm"
    assert judge(found(0.0, -0.021, 0.021), 0.02) == "too few"


def test_a_sure_loss_smaller_than_the_margin_is_no_harm() -> None:
    assert judge(found(-0.01, -0.015, -0.005), 0.02) == "no harm"


def test_an_interval_below_the_margin_is_harm() -> None:
    assert judge(found(-0.05, -0.08, -0.021), 0.02) == "harm"
    assert judge(found(-0.05, -0.08, -0.019), 0.02) == "too few"


def test_few_needles_promise_nothing_though_none_changed() -> None:
    # Of 180 needles none would be lost one time in forty, were the loss 2 %.
    assert judge(found(0.0, -0.001, 0.001, 180), 0.02) == "too few"
    assert judge(found(0.0, -0.001, 0.001, 200), 0.02) == "no harm"


def test_the_score_test_is_that_of_statsmodels() -> None:
    for lost in range(20):
        p = proportions_ztest(lost, 600, value=0.02, alternative="smaller", prop_var=0.02)[1]
        assert (judge(found(-lost / 600, -0.0199, 0.0, 600), 0.02) == "no harm") is bool(p < 0.025)


def test_uneven_clusters_are_worth_fewer() -> None:
    even, uneven = (row([0] * sum(sizes), [0] * sum(sizes), np.repeat(np.arange(len(sizes)), sizes))
                    for sizes in ([2] * 200, [1] * 199 + [201]))  # fmt: skip
    assert even["effective_clusters"] == 200
    assert uneven["effective_clusters"] == pytest.approx(400**2 / (199 + 201**2), abs=1e-6)
    assert judge(even, 0.02) == "no harm"
    assert judge(uneven, 0.02) == "too few"


def test_the_number_needed_decides() -> None:
    undecided = row([1] * 6 + [0] * 194, [0] * 2 + [1] * 4 + [0] * 192 + [1] * 2, range(200))
    assert judge(undecided, 0.02) == "too few"
    advice = needed_to_judge(undecided, 0.02)
    assert advice is not None
    assert advice.needles > 200


def test_no_number_tells_the_margin_from_itself() -> None:
    assert needed_to_judge(found(-0.02, -0.04, 0.0) | {"change": -0.02}, 0.02) is None
