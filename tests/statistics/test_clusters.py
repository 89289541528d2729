"""Cluster-robust standard errors: by the textbook's sandwich, and where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from harness.statistics.clusters import mean_error, mean_interval
from harness.statistics.resampling import mcnemar_exact


def sandwich(values, clusters):
    """statsmodels' OLS(values, 1).fit(cov_type='cluster'): bread · meat · bread, corrected."""
    x = np.ones((len(values), 1))
    bread = np.linalg.inv(x.T @ x)
    residuals = values - values.mean()
    names = sorted(set(clusters))
    meat = np.zeros((1, 1))
    for name in names:
        chosen = np.array([c == name for c in clusters])
        score = x[chosen].T @ residuals[chosen]
        meat += np.outer(score, score)
    n, g, k = len(values), len(names), 1
    corrected = g / (g - 1) * (n - 1) / (n - k) * (bread @ meat @ bread)
    return float(np.sqrt(corrected[0, 0]))


def pairs(values, clusters):
    """Miller 2024, eq. 4: naive variance and every pair of different items of one cluster."""
    e = values - values.mean()
    total = (e**2).sum()
    for i in range(len(e)):
        for j in range(len(e)):
            total += e[i] * e[j] * (i != j and clusters[i] == clusters[j])
    g = len(set(clusters))
    return float(np.sqrt(total * g / (g - 1))) / len(e)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_as_the_sandwich_and_as_millers_sum_over_pairs(seed):
    rng = np.random.default_rng(seed)
    clusters = rng.integers(8, size=40).tolist()
    values = rng.random(40) + np.array(clusters) / 8
    assert mean_error(values, clusters) == pytest.approx(sandwich(values, clusters), rel=1e-12)
    assert mean_error(values, clusters) == pytest.approx(pairs(values, clusters), rel=1e-12)


def test_alone_in_its_cluster_an_item_counts_as_itself():
    values = np.random.default_rng(0).random(30)
    alone = mean_error(values, list(range(30)))
    assert alone == pytest.approx(stats.sem(values))
    assert alone == pytest.approx(mean_error(values))


def test_copies_of_an_item_say_nothing_new():
    values = np.random.default_rng(0).random(30)
    copies, names = np.repeat(values, 5), np.repeat(np.arange(30), 5).tolist()
    assert mean_error(copies, names) == pytest.approx(mean_error(values))
    assert mean_error(copies) < 0.5 * mean_error(values)  # what a naive error would claim


def test_interval_and_where_there_is_none():
    values, names = np.array([1.0, 0.0, 1.0, 1.0]), ["a", "a", "b", "c"]
    error, (low, high) = mean_error(values, names), mean_interval(values, names)
    assert (low + high) / 2 == pytest.approx(0.75)
    assert (high - low) / 2 == pytest.approx(4.302652729911275 * error)  # t of 2 degrees
    assert mean_error(values, ["a"] * 4) is None
    assert mean_interval(values, ["a"] * 4) is None
    assert mean_error(values[:1]) is None


@pytest.mark.parametrize("counts", [(20, 45), (45, 20), (0, 0), (0, 7), (3, 3), (1, 0), (210, 260)])
def test_mcnemar_is_scipys_exact_binomial(counts):
    """Exact McNemar: 20 gains and 45 losses among them, p .002626."""
    gains, losses = counts
    expected = stats.binomtest(gains, gains + losses, 0.5).pvalue if any(counts) else 1.0
    assert mcnemar_exact(gains, losses) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
def test_yes_or_no_results_that_all_agree_leave_room_for_others(value):
    """The rule of three over clusters: 3/G, with 0.95 one-sided."""
    values, clusters = np.full(60, value), np.repeat(np.arange(20), 3).tolist()
    for error, groups in ((mean_error(values), 60), (mean_error(values, clusters), 20)):
        assert error is not None and 1.645 * np.sqrt(2) * error == pytest.approx(
            3 / groups, rel=0.1
        )
    low, high = mean_interval(values, clusters) or (0, 0)
    assert low < value < high
    assert mean_error(np.full(60, 0.3)) == pytest.approx(0, abs=1e-12)
    assert mean_error(values, [0] * 60) is None
