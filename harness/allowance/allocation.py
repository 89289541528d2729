"""Division of a budget between search and confirmation, for the best chance of a right choice.

Each division that the measured costs allow is tried on a thousand made-up sweeps, and the one that most
often ends with a configuration within the margin of what the best method can do is taken. The made-up
sweeps know nothing of the user's model. They rest on the built-in example, in units of the SD of seeds:
six methods whose best differ by an SD of 2, and trials that lose up to 10 by their settings. Two
settings matter, and the loss is quadratic in each, so of n random trials the best loses 10/(n + 1) on
average. What is compared are divisions of one budget, so the chances themselves mean little.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from harness.statistics.scores import Array

METHODS_SD = 2.0  # of the best of each method
MOST_LOST = 10.0  # by a trial's settings
VALIDATION_SD = 1.0  # of a score, by the choice of validation examples, beside its seed's
HALFWAY_SD = 3.0  # of what an early evaluation tells of a trial's end
MARGIN = 1.0
WORLDS = 1000
TRIALS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128)
FINALISTS = (1, 2, 3)
FEWEST_SEEDS = 2
MOST_SEEDS = 20  # of each finalist on average: more are not planned for


@dataclass(frozen=True)
class MethodCost:
    """Seconds of a worker that a trial of one method takes, evaluation and all."""

    search: float
    confirm: float
    pruned: float | None = (
        None  # a search trial on average, if trials are pruned; None: they cannot be
    )


@dataclass(frozen=True)
class Typed:
    """Keys that the user has fixed; None: the plan chooses."""

    trials: int | None = None
    pruner: str | None = None
    finalists: int | None = None
    seeds: int | None = None


@dataclass(frozen=True)
class Division:
    """Trials and finalists of each method, and confirm runs of all together."""

    trials: int
    pruner: str
    finalists: int
    runs: int
    chance: float  # of a right choice, in the made-up sweeps
    seconds: float  # of workers, expected

    def seeds(self, methods: int) -> int:
        """Return the seeds of each finalist, were they shared evenly."""
        return self.runs // max(1, methods * self.finalists)


def smallest(costs: Sequence[MethodCost], typed: Typed) -> float:
    """Return the seconds of the smallest honest sweep: one trial a method, confirmed with two seeds."""
    pruned = typed.pruner not in (None, "none")
    return next(_divisions(costs, math.inf, typed, pruned, first=True)).seconds


def divide(costs: Sequence[MethodCost], seconds: float, typed: Typed) -> Division | None:
    """Return the best division of ``seconds`` of workers; None if not even the smallest sweep fits."""
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
    """Yield what fits; ``first``: the smallest, without its chance."""
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
    """Return the share of made-up sweeps whose choice is within the margin of the best possible."""
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
    """Return (W, k) the best of each method, and (W, k, T) true values, scores and early scores."""
    best = np.random.default_rng([k, 0]).normal(0, METHODS_SD, (WORLDS, k))
    shape = (trials, WORLDS, k)  # trials first: more of them begin with the same
    lost = np.moveaxis(np.random.default_rng([k, 1]).uniform(0, MOST_LOST, shape), 0, -1)
    noise = np.moveaxis(np.random.default_rng([k, 2]).normal(0, 1, shape), 0, -1)
    early = np.moveaxis(np.random.default_rng([k, 3]).normal(0, HALFWAY_SD, shape), 0, -1)
    true = best[..., None] - lost
    scores = true + noise * math.hypot(1.0, VALIDATION_SD)
    return best, true, scores, scores + early


def _raced(true: Array, runs: int) -> np.ndarray:
    """(W, n) true values -> (W,) places of the choice: the better half gets more runs, and again."""
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
