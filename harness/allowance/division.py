"""Division of a budget between search and confirmation, chosen by simulation.

Each division that the measured costs allow is tried on 1,000 simulated sweeps. The one that most
often ends within the margin of the best achievable result is used.
The simulation knows nothing about the user's model. Its constants come from the built-in example,
in units of the SD between seeds. Six methods differ in their best results by an SD of 2, and a
trial loses up to 10 by its settings. Two settings matter and the loss is quadratic in each, so the
best of n random trials loses 10/(n + 1) on average. The simulation only ranks divisions of one
budget: its probabilities are no forecast.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from harness.statistics.scores import Array

METHODS_SD = 2.0  # between the best results of the methods
MOST_LOST = 10.0  # largest loss due to a trial's settings
VALIDATION_SD = 1.0  # of a score over draws of validation examples, in addition to its seed's
HALFWAY_SD = 3.0  # error when an early evaluation predicts the final one
MARGIN = 1.0
WORLDS = 1000
TRIALS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128)
FINALISTS = (1, 2, 3)
FEWEST_SEEDS = 2
MOST_SEEDS = 20  # most seeds planned for each finalist, on average


@dataclass(frozen=True)
class MethodCost:
    """Worker seconds that a trial of one method takes, including evaluation."""

    search: float
    confirm: float
    pruned: float | None = None  # mean of a search trial with pruning; None: pruning saves nothing


@dataclass(frozen=True)
class Typed:
    """Values set by the user. None leaves the choice to the plan."""

    trials: int | None = None
    pruner: str | None = None
    finalists: int | None = None
    seeds: int | None = None


@dataclass(frozen=True)
class Division:
    """Trials and finalists of each method, and the total number of confirmation runs."""

    trials: int
    pruner: str
    finalists: int
    runs: int
    chance: float  # share of simulated sweeps that end with a correct choice
    seconds: float  # expected worker seconds

    def seeds(self, methods: int) -> int:
        """Return the number of seeds for each finalist if all get the same."""
        return self.runs // max(1, methods * self.finalists)


def smallest(costs: Sequence[MethodCost], typed: Typed) -> float:
    """Return the worker seconds of the smallest valid sweep: one trial a method, two confirm seeds."""
    pruned = typed.pruner not in (None, "none")
    return next(_divisions(costs, math.inf, typed, pruned, first=True)).seconds


def divide(costs: Sequence[MethodCost], seconds: float, typed: Typed) -> Division | None:
    """Return the best division of ``seconds`` of worker time; None if no valid sweep fits."""
    pruners = (False, True) if typed.pruner is None else (typed.pruner != "none",)
    found = [
        division
        for pruned in pruners
        if not pruned or typed.pruner is not None or all(c.pruned is not None for c in costs)
        for division in _divisions(costs, seconds, typed, pruned)
    ]
    return max(found, key=lambda one: (one.chance, -one.seconds), default=None)


def _divisions(
    costs: Sequence[MethodCost], seconds: float, typed: Typed, pruned: bool, first: bool = False
) -> Iterator[Division]:
    """Yield the divisions that fit. ``first``: skip the simulation, for the smallest one."""
    k = len(costs)
    a_round = sum(c.pruned if pruned and c.pruned is not None else c.search for c in costs)
    a_run = sum(c.confirm for c in costs) / k
    for trials in TRIALS if typed.trials is None else (typed.trials,):
        for finalists in FINALISTS if typed.finalists is None else (typed.finalists,):
            several = min(finalists, trials) if typed.finalists is None else finalists
            if several < finalists:
                continue
            fewest = k * finalists * (typed.seeds or FEWEST_SEEDS)
            left = seconds - trials * a_round - fewest * a_run
            if left < 0:
                continue
            most = k * finalists * MOST_SEEDS
            runs = fewest
            if typed.seeds is None and finalists and left < math.inf:
                runs = int(min(most, fewest + left // max(a_run, 1e-9)))
            spent = trials * a_round + runs * a_run
            name = typed.pruner or ("asha" if pruned else "none")
            chance = 0.0 if first else _chance(k, trials, pruned, finalists, runs)
            yield Division(trials, name, finalists, runs, chance, spent)


@lru_cache(maxsize=4096)
def _chance(k: int, trials: int, pruned: bool, finalists: int, runs: int) -> float:
    """Return the share of simulated sweeps that choose a result within the margin of the best."""
    best, true, scores, halfway = _worlds(k, trials)
    if pruned and trials > 1:
        goes_on = max(finalists, math.ceil(trials / 3))
        stopped = np.argsort(-halfway, axis=-1)[..., goes_on:]
        scores = np.array(scores)
        np.put_along_axis(scores, stopped, -np.inf, axis=-1)
    places = np.argsort(-scores, axis=-1)[..., : max(1, finalists)]
    chosen = np.take_along_axis(true, places, axis=-1).reshape(WORLDS, -1)
    if finalists:
        picked = _raced(chosen, runs)
    else:
        picked = np.take_along_axis(scores, places, axis=-1).reshape(WORLDS, -1).argmax(axis=-1)
    value = np.take_along_axis(chosen, picked[:, None], axis=-1)[:, 0]
    return float(np.mean(value >= best.max(axis=-1) - MARGIN))


@lru_cache(maxsize=32)
def _worlds(k: int, trials: int) -> tuple[Array, Array, Array, Array]:
    """Simulate W sweeps of k methods with T trials each.

    Returns the best result of each method (W, k), then true values, scores and early scores (W, k,
    T).
    """
    best = np.random.default_rng([k, 0]).normal(0, METHODS_SD, (WORLDS, k))
    shape = (trials, WORLDS, k)  # trials first, so that more trials extend the same draws
    lost = np.moveaxis(np.random.default_rng([k, 1]).uniform(0, MOST_LOST, shape), 0, -1)
    noise = np.moveaxis(np.random.default_rng([k, 2]).normal(0, 1, shape), 0, -1)
    early = np.moveaxis(np.random.default_rng([k, 3]).normal(0, HALFWAY_SD, shape), 0, -1)
    true = best[..., None] - lost
    scores = true + noise * math.hypot(1.0, VALIDATION_SD)
    return best, true, scores, scores + early


def _raced(true: Array, runs: int) -> np.ndarray:
    """Return the chosen index (W,) of true values (W, n) after a race with ``runs`` runs.

    After each round the better half runs again (successive halving).
    """
    n = true.shape[-1]
    rng = np.random.default_rng([n, runs])
    counts = np.zeros_like(true)
    sums = np.zeros_like(true)
    each, active, left = FEWEST_SEEDS, n, runs
    means = np.zeros_like(true)
    while left > 0:
        each = min(each, max(1, left // active))
        order = np.argsort(-means, axis=-1)[..., : min(active, left)]
        extra = np.zeros_like(true)
        np.put_along_axis(extra, order, float(each), axis=-1)
        sums += extra * true + np.sqrt(extra) * rng.standard_normal(true.shape)
        counts += extra
        means = np.where(counts > 0, sums / np.maximum(counts, 1), -np.inf)
        left -= each * min(active, left)
        active = max(min(2, n), math.ceil(active / 2))
    return means.argmax(axis=-1)
