"""Rank stability against scipy, a published table and cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from harness.statistics.rank_correlation import rank_stability, spearman

# LoRA (arXiv:2106.09685), Table 18: validation loss and BLEU by rank 1, 2, 4, ..., 1024.
LOSS = (1.23, 1.21, 1.18, 1.17, 1.16, 1.16, 1.16, 1.16, 1.16, 1.16, 1.17)
BLEU = (68.72, 69.17, 70.38, 69.57, 69.61, 69.33, 69.24, 68.73, 68.92, 68.78, 69.37)


@pytest.mark.parametrize("seed", range(4))
def test_rank_correlations_equal_scipy_with_and_without_ties(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 5 + 20 * seed, 12), rng.integers(0, 5 + 20 * seed, 12)
    found = rank_stability(a, b, maximize=True)
    assert found.kendall == pytest.approx(stats.kendalltau(a, b).statistic, abs=1e-12)
    assert found.spearman == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)


def test_o46_loss_does_not_order_lora_s_ranks_as_bleu_does():
    assert LOSS.index(min(LOSS)) != BLEU.index(max(BLEU)) == 2
    assert spearman(LOSS, BLEU) == pytest.approx(0.0348, abs=5e-5)


def test_regret_and_rank_by_hand_in_both_directions():
    found = rank_stability([3.0, 2.0, 1.0], [70.0, 75.0, 71.0], maximize=True)
    assert (found.chosen, found.test_rank, found.regret) == (0, 3, 5.0)
    found = rank_stability([3.0, 2.0, 1.0], [70.0, 75.0, 71.0], maximize=False)
    assert (found.chosen, found.test_rank, found.regret) == (2, 2, 1.0)


def test_no_order_where_nothing_differs():
    found = rank_stability([1.0, 1.0], [2.0, 3.0], maximize=True)
    assert found.kendall is None and found.spearman is None


def test_a_clear_order_stays_and_noise_does_not():
    rng = np.random.default_rng(0)
    scores = np.array([80.0, 70.0, 60.0, 50.0])
    for spread, least, most in ((1.0, 0.999, 1.0), (1000.0, 0.15, 0.35)):
        draws = [scores + spread * rng.normal(size=(2000, 4)) for _ in range(2)]
        found = rank_stability(scores, scores, True, *draws)
        assert least <= (found.stays_best or 0) <= most
        assert found.kendall == 1.0
    assert found.kendall_interval is None  # of four


@pytest.mark.parametrize(
    "order", [[0, 1, 2, 3, 4], [0, 2, 1, 4, 3], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3]]
)
def test_the_interval_of_tau_holds_its_estimate(order):
    found = rank_stability(range(5), order, maximize=True)
    assert found.kendall == pytest.approx(stats.kendalltau(range(5), order).statistic)
    low, high = found.kendall_interval or (1.0, -1.0)
    assert -1 <= low <= (found.kendall or 0.0) <= high <= 1
    assert high - low > 0.5 or abs(found.kendall or 0.0) == 1
