"""Bootstrap intervals of one run, and paired changes. Pure functions; randomness is passed in.

Shapes: statistics are (n, k) for one run, (seeds, n, k) for a configuration that was run with
several seeds; its score is the mean over seeds of the corpus score. B is the number of resamples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from harness.statistics.scores import Array, aggregate_resamples

RESAMPLES = 1000


def draw_counts(n: int, resamples: int, rng: np.random.Generator) -> Array:
    """Draw B resamples of n units with replacement; return (B, n) how often each unit is drawn."""
    drawn = rng.integers(n, size=(resamples, n)) + n * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=n * resamples).reshape(resamples, n).astype(float)


def bootstrap_scores(
    name: str, statistics: Array, item_counts: Array, seed_counts: Array | None = None
) -> Array:
    """Return (B,) scores from (seeds, n, k) or (n, k) statistics, (B, n) and (B, seeds) counts.

    A resample draws both items and seeds. The items drawn are the same for every seed, because all
    seeds answered the same items.
    """
    if statistics.ndim == 2:
        statistics = statistics[None]
    by_seed = np.stack([aggregate_resamples(name, one, item_counts) for one in statistics], axis=1)
    if seed_counts is None:
        return by_seed.mean(axis=1)
    return (by_seed * seed_counts).sum(axis=1) / seed_counts.sum(axis=1)


def percentile_interval(values: Array, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval that holds the central ``level`` of (B,) resampled values."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mcnemar_exact(gains: int, losses: int) -> float:
    """Return the two-sided exact McNemar p for gains against losses; 1 if nothing changed."""
    n, few = gains + losses, min(gains, losses)
    tail = sum(math.comb(n, i) for i in range(few + 1))
    return min(1.0, 2 * tail / 2**n)


@dataclass(frozen=True)
class PairedDelta:
    """Mean change of n paired items with its normal interval."""

    mean: float
    variance: float  # of one item's change, with n − 1 in the denominator
    standard_error: float
    low: float  # 95 %
    high: float


def paired_delta(before: Array, after: Array) -> PairedDelta:
    """Return the mean change of (n,) paired values, with its standard error and 95 % interval."""
    changes = np.asarray(after, dtype=float) - np.asarray(before, dtype=float)
    mean, variance = float(changes.mean()), float(changes.var(ddof=1))
    error = math.sqrt(variance / len(changes))
    reach = NormalDist().inv_cdf(0.975) * error
    return PairedDelta(mean, variance, error, mean - reach, mean + reach)
