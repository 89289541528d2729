"""Agreement of validation and test order: rank correlation and regret."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from harness.statistics.scores import Array


@dataclass(frozen=True)
class RankStability:
    """Agreement of (m,) validation and test scores of the same m configurations."""

    n: int  # configurations
    kendall: float | None  # tau-b, ties counted; None where one side does not vary
    kendall_interval: tuple[float, float] | None  # 95 %, over other configurations; of five or more
    spearman: float | None
    chosen: int  # index of the best by validation; the first of equals
    test_rank: int  # its rank on the test split; 1 is the best
    regret: float  # best test score minus its own, >= 0, in the unit of the score
    stays_best: float | None  # share of resamples in which one configuration is best on both


def rank_stability(
    validation: Sequence[float],
    test: Sequence[float],
    maximize: bool,
    validation_resamples: Array | None = None,
    test_resamples: Array | None = None,
) -> RankStability:
    """Compare the order of m configurations on two splits.

    Takes (m,) scores on both splits and, for ``stays_best``, their (B, m) resamples. The splits hold
    different examples, so their resamples are independent of each other.
    """
    sign = 1.0 if maximize else -1.0
    before, after = sign * np.asarray(validation, float), sign * np.asarray(test, float)
    assert before.shape == after.shape and before.size >= 1
    chosen = int(before.argmax())
    stays = None
    if validation_resamples is not None and test_resamples is not None:
        first, second = sign * validation_resamples, sign * test_resamples
        stays = float(np.mean(first.argmax(axis=1) == second.argmax(axis=1)))
    kendall = _kendall(before, after)
    return RankStability(
        n=len(before),
        kendall=kendall,
        kendall_interval=None if kendall is None else kendall_interval(kendall, len(before)),
        spearman=spearman(before, after),
        chosen=chosen,
        test_rank=1 + int(np.sum(after > after[chosen])),
        regret=float(after.max() - after[chosen]),
        stays_best=stays,
    )


def kendall_interval(tau: float, n: int, level: float = 0.95) -> tuple[float, float] | None:
    """Return the interval of Kendall's τ of n pairs; None below five pairs.

    Fisher's z with variance 0.437/(n − 4) (Fieller, Hartley & Pearson 1957), accurate for |τ| < 0.8.
    A bootstrap over items would not do: its noise lowers the correlation, so that its interval lies
    below the estimate.
    """
    if n < 5:
        return None
    z = math.atanh(max(-1 + 1e-12, min(1 - 1e-12, tau)))
    half = NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(0.437 / (n - 4))
    return min(tau, math.tanh(z - half)), max(tau, math.tanh(z + half))


def spearman(a: Sequence[float] | Array, b: Sequence[float] | Array) -> float | None:
    """Return Spearman's rho of (m,) and (m,) values, ties at mean rank; None if one is constant."""
    first, second = mean_ranks(np.asarray(a)), mean_ranks(np.asarray(b))
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(np.corrcoef(first, second)[0, 1])


def mean_ranks(values: Array) -> Array:
    """Return (m,) ranks from 1; equal values share the mean of their ranks."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]


def _kendall(a: Array, b: Array) -> float | None:
    """Return tau-b (Kendall 1945): concordant minus discordant pairs, over the pairs without ties."""
    above = np.triu_indices(len(a), 1)
    x, y = (np.sign(v[:, None] - v[None, :])[above] for v in (a, b))
    pairs = math.sqrt(float((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / pairs if pairs else None
