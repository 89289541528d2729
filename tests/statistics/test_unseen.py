"""Shares of yes/no results near 0 and 1: against the rule of three and exact binomial coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from harness.evaluation.collector import MeasurementCollector
from harness.statistics.comparing.comparisons import Comparisons
from harness.statistics.comparing.replicates import replicates


def interval(name, right, n):
    measured = MeasurementCollector(100)
    measured.add(name, np.r_[np.ones(right), np.zeros(n - right)][:, None], "")
    found = measured.measurements[name].interval
    assert found is not None
    return found


@pytest.mark.parametrize("n", [20, 100])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.95, 0.99])
def test_intervals_of_one_run_hold_the_true_share(n, share):
    ends = [interval("test.accuracy", right, n) for right in range(n + 1)]
    held = [low <= share <= high for low, high in ends]
    assert stats.binom.pmf(np.arange(n + 1), n, share) @ held >= 0.92
    assert ends[0] == pytest.approx((0, 2.4 / n), abs=0.1 / n) and ends[n][1] == 1
    assert interval("test.exact_match", n, n)[0] == pytest.approx(100 * ends[n][0])


@pytest.mark.parametrize("n", [20, 300])
@pytest.mark.parametrize("columns", [np.ones(1), np.r_[100, 100, 90, 80, 70, 60, 90, 80, 70, 60]])
def test_candidates_without_a_wrong_answer_are_equal_within_the_rule_of_three(n, columns):
    name, width = ("test.accuracy", 1) if len(columns) == 1 else ("test.bleu", 100)
    statistics = np.tile(columns, (3, n, 1))
    both = Comparisons([replicates(name, statistics, range(3)) for _ in range(2)], True)
    assert both.shortfall / width == pytest.approx(3 / n, rel=0.2)
    ends = both.interval(0)
    assert ends is not None and ends[1] - ends[0] > 2 * width / n


def test_a_worse_classifier_is_seldom_shown_within_the_margin_on_few_texts():
    """Of truly 0.99 and 0.95 with 20 texts: without unseen results in 16 %."""
    rng, wrong = np.random.default_rng(0), []
    for _ in range(200):
        right = [np.tile(rng.random(20) < share, (2, 1)).astype(float) for share in (0.99, 0.95)]
        found = [replicates("test.accuracy", one[..., None], range(2)) for one in right]
        wrong.append(Comparisons(found, True).shortfall[1] <= 0.01)
    assert np.mean(wrong) <= 0.05
