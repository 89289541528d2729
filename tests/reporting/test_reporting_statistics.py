"""Intervals and tests against exact values, other tools, and what must hold for any input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sacrebleu.metrics import BLEU
from sacrebleu.significance import PairedTest
from scipy.stats import binomtest
from test_reporting_scores import corpus, statistics

from harness.statistics.budget import expected_best, running_best
from harness.statistics.errors import Error
from harness.statistics.pareto import front, hypervolume
from harness.statistics.power import minimal_detectable_difference, needed
from harness.statistics.resampling import (
    benjamini_hochberg,
    bootstrap_interval,
    compare_resamples,
    holm,
    mcnemar_exact,
    paired_bootstrap,
    paired_delta,
    paired_randomization,
)
from harness.statistics.scores import aggregate


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


def test_running_best_counts_trials_without_a_score():
    assert running_best([None, 2.0, 1.0, None, 3.0], True) == [None, 2.0, 2.0, 2.0, 3.0]
    assert running_best([2.0, 3.0, 1.0], False) == [2.0, 2.0, 1.0]


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


def test_holm_and_benjamini_hochberg_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert benjamini_hochberg([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert holm([]) == [] and holm([0.9, 0.8]) == [1.0, 1.0]


@pytest.mark.parametrize("seed", range(4))
def test_interval_brackets_the_score_and_shrinks_with_seeds_that_agree(seed):
    outputs, references = corpus(0.3, seed=seed)
    stats = statistics(BLEU(force=True), outputs, [references])
    low, high = bootstrap_interval("test.bleu", stats, np.random.default_rng(seed))
    assert low < aggregate("test.bleu", stats) < high
    again = bootstrap_interval("test.bleu", np.stack([stats, stats]), np.random.default_rng(seed))
    assert again == pytest.approx((low, high))  # the same answers twice are no new examples


def test_seeds_that_disagree_widen_the_interval():
    near, references = corpus(0.3, seed=1)
    far, _ = corpus(0.9, seed=1)
    a, b = (statistics(BLEU(force=True), out, [references]) for out in (near, far))
    rng = np.random.default_rng(0)
    low, high = bootstrap_interval("test.bleu", np.stack([a, b]), rng)
    assert low < aggregate("test.bleu", b) + 5 and high > aggregate("test.bleu", a) - 5


@pytest.mark.parametrize("shares", [(0.30, 0.31), (0.30, 0.36), (0.30, 0.60)])
def test_p_value_agrees_with_sacrebleu(shares):
    _, references = corpus(0.0, seed=11, n=150)
    first, second = (corpus(share, seed=11, n=150)[0] for share in shares)
    metric = BLEU(force=True)
    _, theirs = PairedTest(
        [("a", first), ("b", second)], {"BLEU": metric}, [references], test_type="bs"
    )()
    a, b = (statistics(metric, out, [references]) for out in (first, second))
    ours = paired_bootstrap("test.bleu", b, a, np.random.default_rng(12345))
    base, system = theirs["BLEU"]
    assert ours.difference == pytest.approx(system.score - base.score, abs=1e-9)
    assert ours.p_sacrebleu == pytest.approx(system.p_value, abs=0.04)
    assert ours.p_value >= ours.p_sacrebleu or ours.p_sacrebleu > 0.3


def test_randomization_agrees_with_sacrebleu():
    _, references = corpus(0.0, seed=12, n=100)
    first, second = (corpus(share, seed=12, n=100)[0] for share in (0.3, 0.34))
    metric = BLEU(force=True)
    _, theirs = PairedTest(
        [("a", first), ("b", second)], {"BLEU": metric}, [references], "ar", n_samples=2000
    )()
    a, b = (statistics(metric, out, [references]) for out in (first, second))
    ours = paired_randomization("test.bleu", a, b, np.random.default_rng(12345), trials=2000)
    assert ours == pytest.approx(theirs["BLEU"][1].p_value, abs=0.002)


def test_two_sided_p_keeps_its_level_where_sacrebleus_does_not():
    """Why decisions do not use sacrebleu's value: it errs twice as often as it says."""
    rng = np.random.default_rng(0)
    ours = theirs = 0
    for _ in range(1500):
        observed = rng.normal()
        comparison = compare_resamples(rng.normal(observed, 1, 400), np.zeros(400), observed)
        ours += comparison.p_value <= 0.05
        theirs += comparison.p_sacrebleu <= 0.05
    assert 0.035 < ours / 1500 < 0.065
    assert theirs / 1500 > 0.08


def test_a_system_is_not_different_from_itself():
    outputs, references = corpus(0.3, seed=2)
    stats = statistics(BLEU(force=True), outputs, [references])
    comparison = paired_bootstrap("test.bleu", stats, stats, np.random.default_rng(0), 200)
    assert (comparison.difference, comparison.p_value) == (0.0, 1.0)
    # sacrebleu counts only larger differences and would say 1/201 here.
    assert paired_randomization("test.bleu", stats, stats, np.random.default_rng(0), 200) == 1.0


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


def test_randomization_of_several_seeds_swaps_an_example_in_all_of_them():
    rng = np.random.default_rng(0)
    a = rng.random((60, 1))
    same = np.stack([a, a])
    b = a + 0.3 * rng.random((60, 1))
    one = paired_randomization("m", a, b, np.random.default_rng(1), 2000)
    two = paired_randomization("m", same, np.stack([b, b]), np.random.default_rng(1), 2000)
    assert one == two < 0.01
    # Two seeds that disagree cancel: swapped apart they would not.
    whole = np.arange(8.0)[:, None]
    crossed = np.stack([whole + 4, whole - 4]), np.stack([whole, whole])
    assert paired_randomization("m", *crossed, np.random.default_rng(1), 2000) == 1.0
