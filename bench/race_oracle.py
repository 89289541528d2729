"""Least cost of a race for seeds: one that knows beforehand how its finalists vary.

    python -m bench.race_oracle             # about ten minutes on one core

The oracle of each case of ``bench.racing`` knows the spread of the true quality and the variance of the
seeds, starts with one run of each finalist, and ends at the posterior risk that suits the case best.
Its next run goes where the expected risk after some runs falls most (knowledge gradient, Frazier,
Powell & Dayanik 2008, SIAM J. Control Optim. 47:2410), or by optimal computing budget allocation. The
cheapest of these variants counts. Its share of the cost of fixed seeds at equal regret is about the
least that any race can reach, which has to find all this out. Items cause no error here.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from bench.racing import FINALISTS, cost_of

MARGIN = 1.0
SWEEPS, OF_FIXED = 3000, 100_000
RISKS = np.geomspace(0.4, 0.001, 40)
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(7)
AHEAD = (2, 8)  # runs that the knowledge gradient looks ahead; one alone rarely changes a choice


def fixed(k: int, spread: float, sd: float, seeds: int, rng: np.random.Generator) -> float:
    """Return the share of choices beyond the margin with equal seeds."""
    truth = rng.normal(0, spread, (OF_FIXED, k))
    chosen = (truth + rng.normal(0, sd / seeds**0.5, truth.shape)).argmax(axis=1)
    return float(
        np.mean(truth.max(axis=1) - np.take_along_axis(truth, chosen[:, None], 1)[:, 0] > MARGIN)
    )


def risk(means: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Return (B,) summed probabilities that another one is beyond the margin of the best mean."""
    best = means.argmax(axis=1)[:, None]
    behind = np.take_along_axis(means, best, 1) - means + MARGIN
    chances = ndtr(-behind / np.sqrt(variances + np.take_along_axis(variances, best, 1)))
    np.put_along_axis(chances, best, 0.0, 1)
    return chances.sum(axis=1)


def by_gradient(means: np.ndarray, precisions: np.ndarray, sd: float, ahead: int) -> np.ndarray:
    """Return (B,) the finalist whose next ``ahead`` runs reduce the expected risk most."""
    expected = np.empty_like(means)
    for i in range(means.shape[1]):
        then = 1 / precisions
        then[:, i] = 1 / (precisions[:, i] + ahead / sd**2)
        step = np.sqrt(1 / precisions[:, i] - then[:, i])
        after, total = means.copy(), np.zeros(len(means))
        for node, weight in zip(NODES, WEIGHTS / WEIGHTS.sum(), strict=True):
            after[:, i] = means[:, i] + node * step
            total += weight * risk(after, then)
        expected[:, i] = total
    return expected.argmin(axis=1)


def by_allocation(means: np.ndarray, runs: np.ndarray) -> np.ndarray:
    """Return (B,) the finalist that lacks most of its share, as in ``seeds_for_choice``."""
    best = means.argmax(axis=1)[:, None]
    shares = 1 / (np.take_along_axis(means, best, 1) - means + MARGIN) ** 2
    np.put_along_axis(shares, best, 0.0, 1)
    np.put_along_axis(shares, best, np.sqrt((shares**2).sum(axis=1, keepdims=True)), 1)
    shares /= shares.sum(axis=1, keepdims=True)
    return (shares * (runs.sum(axis=1, keepdims=True) + 1) - runs).argmax(axis=1)


def oracle(
    k: int, spread: float, sd: float, most: int, ahead: int, rng: np.random.Generator
) -> tuple[list[float], list[float]]:
    """Return cost and share beyond the margin at each of ``RISKS``; ``ahead`` 0: by allocation."""
    truth, each = rng.normal(0, spread, (SWEEPS, k)), np.arange(SWEEPS)
    sums, runs = truth + rng.normal(0, sd, truth.shape), np.ones((SWEEPS, k))
    risks, beyond = [], []
    for _ in range(k, most + 1):
        precisions = 1 / spread**2 + runs / sd**2
        means = sums / sd**2 / precisions
        risks.append(risk(means, 1 / precisions))
        beyond.append(truth.max(axis=1) - truth[each, means.argmax(axis=1)] > MARGIN)
        following = (
            by_gradient(means, precisions, sd, ahead) if ahead else by_allocation(means, runs)
        )
        sums[each, following] += truth[each, following] + rng.normal(0, sd, SWEEPS)
        runs[each, following] += 1
    over, wrong = np.array(risks), np.array(beyond)
    over[-1] = 0.0
    ends = [np.argmax(over <= limit, axis=0) for limit in RISKS]
    return [float(k + end.mean()) for end in ends], [float(wrong[end, each].mean()) for end in ends]


def main() -> None:
    print(f"{'k':>3} {'spread':>6} {'seed SD':>7} {'share of 10':>12} {'of 20':>6}")
    for k, spread, sd in FINALISTS:
        rng = np.random.default_rng([k, int(10 * spread), int(10 * sd)])
        goals = {n: fixed(k, spread, sd, n, rng) for n in (10, 20)}
        curves = [oracle(k, spread, sd, min(30 * k, 180), ahead, rng) for ahead in (0, *AHEAD)]
        shares = [
            np.nanmin([cost_of(*curve, goal) for curve in curves]) / (k * n)
            for n, goal in goals.items()
        ]
        print(f"{k:>3} {spread:>6g} {sd:>7g} {shares[0]:>12.2f} {shares[1]:>6.2f}", flush=True)


if __name__ == "__main__":
    main()
