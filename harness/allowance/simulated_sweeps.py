"""Simulated sweeps of a known best configuration: how often a division of a budget finds it.

The simulation knows nothing about the user's model. It works in units of the SD between seeds, and its
constants come from the built-in example, except for those of items. Six methods differ in their best
results by an SD of 2, and a trial loses up to 10 by its settings. Two settings matter and the loss is
quadratic in each, so the best of n random trials loses 10/(n + 1) on average.

A score of S seeds on n test items has three errors: 1/S of the seeds, ``OWN_ITEMS``/n of the items,
which more seeds do not reduce, and ``SEED_ITEMS``/(n·S) of both. After a share f of the steps,
configurations are ordered as they would be after all, but for an error of the variance
``SHORT``·(1/f − 1) each. A choice is right if after all steps it would be within the margin of the
best. The simulation only ranks divisions of one budget: its shares are no forecast.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from harness.statistics.scores import Array

METHODS_SD = 2.0  # between the best results of the methods
MOST_LOST = 10.0  # largest loss due to a trial's settings
VALIDATION_SD = 1.0  # of a score over draws of validation examples, in addition to its seed's
HALFWAY_SD = (
    3.0  # error when an early evaluation, after a quarter of the steps, predicts the final one
)
SHORT = HALFWAY_SD**2 / 3  # so that the error of a quarter of the steps is this one
# With 200 items, a quarter and a third of the seeds' variance. In the built-in example they are 0.65
# and 7, at 100 items. Where items matter more than there, few items must not be planned.
OWN_ITEMS, SEED_ITEMS = 50.0, 72.0
MARGIN = 1.0
WORLDS = 1000
FEWEST_SEEDS = 2
STREAM = 0  # of random numbers


@lru_cache(maxsize=4096)
def chance(
    k: int, trials: int, pruned: bool, finalists: int, runs: int, steps: float = 1.0, items: int = 0
) -> float:
    """Return the share of simulated sweeps that choose a result within the margin of the best.

    ``trials`` and ``finalists`` of each of ``k`` methods, ``runs`` confirm runs in all; ``steps`` is a
    share of the configured ones; no ``items``: without their error.
    """
    best, chosen, seen, scores = _finalists(k, trials, pruned, finalists, steps)
    picked = _raced(seen, runs, items) if finalists else scores.argmax(axis=-1)
    value = np.take_along_axis(chosen, picked[:, None], axis=-1)[:, 0]
    return float(np.mean(value >= best - MARGIN))


@lru_cache(maxsize=64)
def _finalists(
    k: int, trials: int, pruned: bool, finalists: int, steps: float
) -> tuple[Array, Array, Array, Array]:
    """Return the best result (W,), and of the finalists (W, n) true values, expected ones and scores.

    Expected are those after the share ``steps`` of the steps.
    """
    best, true, scores, halfway = _worlds(k, trials)
    short: Array | float = 0.0
    if steps < 1:
        short = math.sqrt(SHORT * (1 / steps - 1)) * _normal(k, 4, trials)
    scores, halfway = scores + short, halfway + short
    if pruned and trials > 1:
        goes_on = max(finalists, math.ceil(trials / 3))
        stopped = np.argsort(-halfway, axis=-1)[..., goes_on:]
        np.put_along_axis(scores, stopped, -np.inf, axis=-1)
    places = np.argsort(-scores, axis=-1)[..., : max(1, finalists)]
    kept = (np.take_along_axis(each, places, axis=-1) for each in (true, true + short, scores))
    chosen, seen, own = (each.reshape(WORLDS, -1) for each in kept)
    return best.max(axis=-1), chosen, seen, own


@lru_cache(maxsize=32)
def _worlds(k: int, trials: int) -> tuple[Array, Array, Array, Array]:
    """Simulate W sweeps of k methods with T trials each.

    Returns the best result of each method (W, k), then true values, scores and early scores (W, k,
    T).
    """
    best = np.random.default_rng([k, 0, STREAM]).normal(0, METHODS_SD, (WORLDS, k))
    shape = (trials, WORLDS, k)  # trials first, so that more trials extend the same draws
    lost = np.moveaxis(np.random.default_rng([k, 1, STREAM]).uniform(0, MOST_LOST, shape), 0, -1)
    true = best[..., None] - lost
    scores = true + _normal(k, 2, trials) * math.hypot(1.0, VALIDATION_SD)
    return best, true, scores, scores + HALFWAY_SD * _normal(k, 3, trials)


def _normal(k: int, stream: int, trials: int) -> Array:
    drawn = np.random.default_rng([k, stream, STREAM]).normal(0, 1, (trials, WORLDS, k))
    return np.moveaxis(drawn, 0, -1)


def _raced(true: Array, runs: int, items: int) -> np.ndarray:
    """Return the chosen index (W,) of true values (W, n) after a race with ``runs`` runs.

    After each round the better half runs again (successive halving).
    """
    n = true.shape[-1]
    rng = np.random.default_rng([n, runs, STREAM])
    counts = np.zeros_like(true)
    sums = np.zeros_like(true)
    own = SEED_ITEMS / items if items else 0.0
    if items:
        true = true + math.sqrt(OWN_ITEMS / items) * rng.standard_normal(true.shape)
    each, active, left = FEWEST_SEEDS, n, runs
    means = np.zeros_like(true)
    while left > 0:
        each = min(each, max(1, left // active))
        order = np.argsort(-means, axis=-1)[..., : min(active, left)]
        extra = np.zeros_like(true)
        np.put_along_axis(extra, order, float(each), axis=-1)
        sums += extra * true + np.sqrt((1 + own) * extra) * rng.standard_normal(true.shape)
        counts += extra
        means = np.where(counts > 0, sums / np.maximum(counts, 1), -np.inf)
        left -= each * min(active, left)
        active = max(min(2, n), math.ceil(active / 2))
    return means.argmax(axis=-1)
