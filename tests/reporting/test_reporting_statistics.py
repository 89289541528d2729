"""Intervals and tests against exact values, other tools, and what must hold for any input."""

from __future__ import annotations

import math
from itertools import combinations, product

import numpy as np
import pytest
from scipy.stats import binomtest

from harness.statistics.budget import best_of, expected_best
from harness.statistics.comparing.power import minimal_detectable_difference, needed
from harness.statistics.comparing.standard_errors import Error
from harness.statistics.pareto import front, hypervolume
from harness.statistics.resampling import (
    mcnemar_exact,
    paired_delta,
)


def test_o28_paired_delta():
    before = np.array([1.0] * 300 + [0.0] * 200)
    after = before.copy()
    after[:45] = 0.0
    after[300:320] = 1.0
    delta = paired_delta(before, after)
    assert delta.mean == pytest.approx(-0.05)
    assert delta.variance == pytest.approx(0.127755, abs=1e-6)
    assert delta.standard_error == pytest.approx(0.015985, abs=1e-6)
    assert (delta.low, delta.high) == pytest.approx((-0.08133, -0.01867), abs=1e-5)
    assert mcnemar_exact(20, 45) == pytest.approx(0.002626, abs=1e-6)


@pytest.mark.parametrize(
    ("gains", "losses"), [(0, 0), (0, 1), (3, 3), (1, 9), (45, 20), (300, 220)]
)
def test_mcnemar_equals_scipy(gains, losses):
    n = gains + losses
    expected = binomtest(gains, n).pvalue if n else 1.0
    assert mcnemar_exact(gains, losses) == pytest.approx(expected)


def test_o34_expected_best():
    scores = [3, 1, 4, 2]
    biased = [expected_best(scores, n, unbiased=False) for n in (1, 2, 3, 4)]
    assert biased == pytest.approx([2.5, 3.125, 3.4375, 3.6171875])
    unbiased = [expected_best(scores, n) for n in (1, 2, 3, 4)]
    assert unbiased == pytest.approx([2.5, 10 / 3, 3.75, 4.0])


@pytest.mark.parametrize("maximize", [True, False])
def test_the_best_of_n_is_that_of_all_draws(maximize):
    """Against an enumeration: without replacement for the mean, with it for the band."""
    scores, better = [3.0, None, 1.0, 2.5, 5.0], max if maximize else min
    found = best_of(scores, range(1, 6), maximize)
    assert [one.n for one in found] == [2, 3, 4, 5]  # one trial of five has no score
    for one in found:
        drawn = [[s for s in draw if s is not None] for draw in combinations(scores, one.n)]
        assert one.mean == pytest.approx(np.mean([better(draw) for draw in drawn if draw]))
        again = [[s for s in draw if s is not None] for draw in product(scores, repeat=one.n)]
        bests = np.sort([better(draw) for draw in again if draw])
        ends = np.quantile(bests, (0.1, 0.9), method="inverted_cdf")
        assert (one.low, one.high) == pytest.approx(tuple(ends))
    complete = [0.3, 0.1, 0.7, 0.2]
    means = [one.mean for one in best_of(complete, range(1, 5), True)]
    assert means == pytest.approx([expected_best(complete, n) for n in range(1, 5)])
    assert best_of([None, None], [1, 2], maximize) == []


def test_o36_hypervolume_and_front():
    points = [(70, 0.05), (72, 0.2), (65, 0.01), (69, 0.1)]
    directions = ("maximize", "minimize")
    assert hypervolume(points, directions, (60, 0.3)) == pytest.approx(2.9)
    assert sorted(points[i][0] for i in front(points, directions)) == [65, 70, 72]
    assert hypervolume([(50, 0.5)], directions, (60, 0.3)) == 0.0
    assert front([(1, 1), (1, 1)], directions) == [0, 1]


def test_o36_equals_optuna():
    optuna_hypervolume = pytest.importorskip("optuna._hypervolume")
    points = [(70, 0.05), (72, 0.2), (65, 0.01), (69, 0.1)]
    losses = np.array([(-q, f) for q, f in points])
    theirs = optuna_hypervolume.compute_hypervolume(losses, np.array([-60, 0.3]))
    assert hypervolume(points, ("maximize", "minimize"), (60, 0.3)) == pytest.approx(theirs)


def test_minimal_detectable_difference_halves_with_four_times_the_items():
    error = 0.5 / np.sqrt(500)
    assert minimal_detectable_difference(error) == pytest.approx(2.80159 * error, rel=1e-5)
    assert minimal_detectable_difference(error / 2) == pytest.approx(1.400793 * error, rel=1e-5)


@pytest.mark.parametrize(("items", "seeds"), [(2.0, 0.1), (0.1, 2.0), (0.25, 0.2)])
def test_what_is_needed_is_that_at_which_the_difference_is_just_found(items, seeds):
    """Each number is put back into the error; None where no number would do."""
    found = needed(1.0, Error(items, seeds, 100.0), items=100, seeds=4)
    assert found.binding == ("items" if items > seeds else "seeds")
    for number, now, own, other in (
        (found.items, 100, items, seeds),
        (found.seeds, 4, seeds, items),
    ):
        if number is None:
            assert minimal_detectable_difference(other) > 1.0
        else:
            at, below = (math.hypot(own * math.sqrt(now / n), other) for n in (number, number - 1))
            assert minimal_detectable_difference(at) <= 1.0
            assert minimal_detectable_difference(below) > 1.0 or number == now
