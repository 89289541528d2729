"""Intervals and tests over per-example statistics. Pure functions; randomness is passed in.

Shapes: statistics are (n, k) for one run, (seeds, n, k) for a configuration that was run with
several seeds; its score is the mean over seeds of the corpus score. B is the number of resamples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from harness.statistics.scores import Array, aggregate, aggregate_resamples

__all__ = [
    "Comparison",
    "PairedDelta",
    "aggregate",
    "benjamini_hochberg",
    "bootstrap_interval",
    "bootstrap_scores",
    "compare_resamples",
    "draw_counts",
    "holm",
    "mcnemar_exact",
    "paired_bootstrap",
    "paired_delta",
    "paired_randomization",
    "percentile_interval",
    "sacrebleu_p_value",
]

RESAMPLES = 1000
RANDOMIZATIONS = 10_000


def draw_counts(n: int, resamples: int, rng: np.random.Generator) -> Array:
    """(B, n) how often each of n units is drawn in each of B resamples with replacement."""
    drawn = rng.integers(n, size=(resamples, n)) + n * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=n * resamples).reshape(resamples, n).astype(float)


def bootstrap_scores(
    name: str, statistics: Array, item_counts: Array, seed_counts: Array | None = None
) -> Array:
    """(seeds, n, k) or (n, k) statistics, (B, n) and (B, seeds) counts -> (B,) scores.

    Items and seeds are resampled together: a resample draws examples (the same for every seed,
    because the seeds answered the same examples) and draws seeds.
    """
    if statistics.ndim == 2:
        statistics = statistics[None]
    by_seed = np.stack([aggregate_resamples(name, one, item_counts) for one in statistics], axis=1)
    if seed_counts is None:
        return by_seed.mean(axis=1)
    return (by_seed * seed_counts).sum(axis=1) / seed_counts.sum(axis=1)


def percentile_interval(values: Array, level: float = 0.95) -> tuple[float, float]:
    """The central ``level`` of (B,) resampled values."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_interval(
    name: str, statistics: Array, rng: np.random.Generator, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """95 % percentile interval of the score of (n, k) or (seeds, n, k) statistics."""
    if statistics.ndim == 2:
        statistics = statistics[None]
    items = draw_counts(statistics.shape[1], resamples, rng)
    seeds = draw_counts(statistics.shape[0], resamples, rng)
    return percentile_interval(bootstrap_scores(name, statistics, items, seeds))


@dataclass(frozen=True)
class Comparison:
    """Paired comparison of a and b on the same examples."""

    difference: float  # score of a minus score of b, in the unit of the measurement
    low: float  # 95 % interval of the difference
    high: float
    p_value: float  # two-sided
    p_sacrebleu: float  # as sacrebleu's --paired-bs prints it, see sacrebleu_p_value
    standard_error: float  # of the difference


def sacrebleu_p_value(differences: Array, observed: float) -> float:
    """The p-value of sacrebleu 2.6 (significance.py, `_paired_bs_test`), for (B,) differences.

    It centres |difference| rather than the difference, which makes it nearly one-sided: under the
    null hypothesis it is below .05 about one time in ten. It is reported so that numbers can be
    checked against sacrebleu; decisions use the two-sided value of `compare_resamples`.
    """
    sizes = np.abs(differences)
    extreme = int(np.sum(sizes - sizes.mean() > abs(observed)))
    return (extreme + 1) / (len(differences) + 1)


def compare_resamples(scores_a: Array, scores_b: Array, observed: float) -> Comparison:
    """From (B,) scores of a and of b on the *same* resamples, and the observed difference.

    p = (c + 1) / (B + 1) with c = #{|d_b - mean(d)| >= |observed|}: the resampled differences,
    moved to where there is none, against the observed one (Koehn 2004; Noreen 1989 for the +1).
    """
    differences = scores_a - scores_b
    low, high = percentile_interval(differences)
    if observed == 0.0:
        p_value = 1.0
    else:
        extreme = int(np.sum(np.abs(differences - differences.mean()) >= abs(observed)))
        p_value = (extreme + 1) / (len(differences) + 1)
    return Comparison(
        difference=observed,
        low=low,
        high=high,
        p_value=p_value,
        p_sacrebleu=sacrebleu_p_value(differences, observed),
        standard_error=float(differences.std(ddof=1)),
    )


def paired_bootstrap(
    name: str, a: Array, b: Array, rng: np.random.Generator, resamples: int = RESAMPLES
) -> Comparison:
    """Compare (n, k) or (seeds, n, k) statistics of two systems on the same n examples.

    Both see the same resampled examples; seeds are drawn for each on its own, since seed 1 of one
    method has nothing in common with seed 1 of another.
    """
    a, b = (x[None] if x.ndim == 2 else x for x in (a, b))
    assert a.shape[1] == b.shape[1], f"not paired: {a.shape[1]} and {b.shape[1]} examples"
    items = draw_counts(a.shape[1], resamples, rng)
    scores_a = bootstrap_scores(name, a, items, draw_counts(len(a), resamples, rng))
    scores_b = bootstrap_scores(name, b, items, draw_counts(len(b), resamples, rng))
    observed = float(aggregate(name, a).mean() - aggregate(name, b).mean())
    return compare_resamples(scores_a, scores_b, observed)


def paired_randomization(
    name: str, a: Array, b: Array, rng: np.random.Generator, trials: int = RANDOMIZATIONS
) -> float:
    """Two-sided p of approximate randomization (Riezler & Maxwell 2005), (n, k) or (seeds, n, k).

    In each trial every example's two results change places with probability 1/2; p is the share of
    trials whose difference exceeds the observed one, as sacrebleu's --paired-ar. With several seeds,
    as many of a as of b, an example's results change places in all of them; the seeds are taken as
    they are, so what other seeds would give is no part of this p.
    """
    a, b = (x[None] if x.ndim == 2 else x for x in (a, b))
    assert a.shape == b.shape, f"not paired: {a.shape} and {b.shape}"
    observed = abs(float((aggregate(name, a) - aggregate(name, b)).mean()))
    if observed == 0.0:
        return 1.0  # sacrebleu's formula would call two equal systems different
    keep = rng.integers(2, size=(trials, a.shape[1]), dtype=bool).astype(np.float64)
    differences = [
        _mixed(name, one, other, keep) - _mixed(name, other, one, keep)
        for one, other in zip(a, b, strict=True)
    ]
    extreme = int(np.sum(np.abs(np.mean(differences, axis=0)) > observed))
    return (extreme + 1) / (trials + 1)


def _mixed(name: str, kept: Array, other: Array, keep: Array) -> Array:
    """(B,) scores of systems that take example i from ``kept`` where keep[b, i], else ``other``."""
    both = np.concatenate([kept, other])
    return aggregate_resamples(name, both, np.concatenate([keep, 1.0 - keep], axis=1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm 1979: adjusted p-values that control the chance of any false difference."""
    return _stepwise(p_values, lambda rank, m: m - rank, from_smallest=True)


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Benjamini & Hochberg 1995: adjusted p-values that control the share of false differences."""
    return _stepwise(p_values, lambda rank, m: m / (rank + 1), from_smallest=False)


def _stepwise(p_values: Sequence[float], factor, from_smallest: bool) -> list[float]:
    m = len(p_values)
    order = sorted(range(m), key=lambda i: p_values[i])
    adjusted = [0.0] * m
    ranks = range(m) if from_smallest else range(m - 1, -1, -1)
    bound = 0.0 if from_smallest else 1.0
    for rank in ranks:
        value = min(1.0, factor(rank, m) * p_values[order[rank]])
        bound = max(bound, value) if from_smallest else min(bound, value)
        adjusted[order[rank]] = bound
    return adjusted


def mcnemar_exact(gains: int, losses: int) -> float:
    """Two-sided exact McNemar p: are gains and losses a fair coin? 1 where nothing changed."""
    n, few = gains + losses, min(gains, losses)
    tail = sum(math.comb(n, i) for i in range(few + 1))
    return min(1.0, 2 * tail / 2**n)


@dataclass(frozen=True)
class PairedDelta:
    """Mean change of n paired items with its normal interval."""

    mean: float
    variance: float  # of one item's change, n - 1 in the denominator
    standard_error: float
    low: float  # 95 %
    high: float


def paired_delta(before: Array, after: Array) -> PairedDelta:
    """(n,) values of the same items before and after -> change with SE and 95 % interval."""
    changes = np.asarray(after, dtype=float) - np.asarray(before, dtype=float)
    mean, variance = float(changes.mean()), float(changes.var(ddof=1))
    error = math.sqrt(variance / len(changes))
    reach = NormalDist().inv_cdf(0.975) * error
    return PairedDelta(mean, variance, error, mean - reach, mean + reach)
