"""Former rule of the report, kept for comparison with the present one.

Items and seeds resampled together, Holm against the best that the data chose, a failed test taken for
equality, and among the equals the least forgetting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.search.pruning.pareto_fronts import best_first
from harness.statistics.pareto import as_losses, hypervolume
from harness.statistics.resampling import (
    RESAMPLES,
    bootstrap_scores,
    draw_counts,
    percentile_interval,
)
from harness.statistics.scores import Array, aggregate

LEVEL = 0.05


@dataclass(frozen=True)
class Resampled:
    """A score and its (B,) resamples."""

    value: float
    resamples: Array

    @property
    def interval(self) -> tuple[float, float]:
        return percentile_interval(self.resamples)


def resampled(name: str, statistics: Array, rng: np.random.Generator, counts: Array) -> Resampled:
    """Resample (S, n, k) statistics; ``counts`` draws the same items for all candidates."""
    seeds = draw_counts(len(statistics), RESAMPLES, rng)
    scores = bootstrap_scores(name, statistics, counts, seeds)
    return Resampled(float(aggregate(name, statistics).mean()), scores)


def all_resampled(name: str, found: Sequence[Array], rng: np.random.Generator) -> list[Resampled]:
    counts = draw_counts(found[0].shape[1], RESAMPLES, rng)
    return [resampled(name, one, rng, counts) for one in found]


def p_value(a: Resampled, b: Resampled) -> float:
    """Return the two-sided p (c + 1)/(B + 1): c centred differences reach the observed one."""
    observed = a.value - b.value
    if observed == 0.0:
        return 1.0
    differences = a.resamples - b.resamples
    extreme = int(np.sum(np.abs(differences - differences.mean()) >= abs(observed)))
    return (extreme + 1) / (len(differences) + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm 1979: adjusted p-values that control the chance of any false difference."""
    m, bound = len(p_values), 0.0
    adjusted = [0.0] * m
    for rank, i in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        bound = max(bound, min(1.0, (m - rank) * p_values[i]))
        adjusted[i] = bound
    return adjusted


def tied(found: Sequence[Resampled], maximize: bool) -> list[int]:
    """Places of the best and of those not told from it."""
    order = sorted(range(len(found)), key=lambda i: -found[i].value if maximize else found[i].value)
    best, others = order[0], order[1:]
    adjusted = holm([p_value(found[i], found[best]) for i in others])
    return [best, *(i for i, p in zip(others, adjusted, strict=True) if p > LEVEL)]


def chosen(quality: Sequence[Resampled], maximize: bool, forgetting: Sequence[Resampled]) -> int:
    """Return the least forgetting of the candidates tied in quality; cost decides between equals."""
    return min(tied(quality, maximize), key=lambda i: forgetting[i].value)


def finalists(points: Sequence[Sequence[float]], directions: Sequence[str], n: int) -> list[int]:
    """Return n trials: the best in the first objective, then by crowding on the front."""
    return best_first(points, directions)[:n]


def grown(points: Array, directions: Sequence[str], n: int, share: float) -> bool:
    """Return True if the hypervolume, from the worst of all points, grew in the last n trials."""
    losses = as_losses(points, directions)
    spread = np.ptp(losses, axis=0)
    scaled = (losses - losses.max(axis=0)) / spread
    ways, corner = ["minimize"] * len(directions), [0.0] * len(directions)
    now, then = (hypervolume(part, ways, corner) for part in (scaled, scaled[:-n]))
    return now > then * (1 + share)
