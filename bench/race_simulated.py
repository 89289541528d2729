"""Cost of a race for seeds in many sweeps with normal scores, and the least cost that is possible.

    python -m bench.race_simulated          # about ten minutes on one core

``bench.racing`` runs the product's own functions, in a few hundred sweeps. Here are its allocation and
its early end written for thousands of sweeps at once, for the cases of ``bench.racing``. Items cause
no error, and nothing is dropped.

The oracle knows the spread of the true quality and the variance of the seeds, starts with one run of
each finalist, and ends at the posterior risk that suits the case best. Its next run goes where the
expected risk after some runs falls most (knowledge gradient, Frazier, Powell & Dayanik 2008, SIAM J.
Control Optim. 47:2410), or by optimal computing budget allocation. The cheapest of these variants
counts. A race, which has to find all this out, can hardly cost less.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, stdtr

from bench.racing import DESIGNS, FINALISTS, cost_of
from harness.allowance.seed_race import FIRST_SEEDS, LEAST_RISK, SHARE_OF_RISK
from harness.statistics.comparing.standard_errors import PRIOR_DF

MARGIN = 1.0
SWEEPS, OF_ORACLE, OF_FIXED = 6000, 3000, 100_000
Curve = tuple[list[float], list[float]]  # mean costs, and shares beyond the margin
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


def by_allocation(means: np.ndarray, runs: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Return (B,) the finalist that lacks most of its share, as in ``seeds_for_choice``."""
    best = means.argmax(axis=1)[:, None]
    shares = variances / (np.take_along_axis(means, best, 1) - means + MARGIN) ** 2
    np.put_along_axis(shares, best, 0.0, 1)
    others = (shares**2 / variances).sum(axis=1, keepdims=True)
    np.put_along_axis(shares, best, np.sqrt(np.take_along_axis(variances, best, 1) * others), 1)
    shares /= shares.sum(axis=1, keepdims=True)
    return (shares * (runs.sum(axis=1, keepdims=True) + 1) - runs).argmax(axis=1)


def seed_variances(
    sums: np.ndarray, squares: np.ndarray, runs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return (B, k) pooled variances of a seed as in ``harness.statistics``, and (B, 1) their df."""
    left = np.maximum(squares - sums**2 / runs, 0.0)
    own, df = runs - 1, (runs - 1).sum(axis=1, keepdims=True)
    common, prior = left.sum(axis=1, keepdims=True) / df, np.minimum(PRIOR_DF, df)
    return np.maximum((prior * common + left) / (prior + own), left / own), df


def race(k: int, spread: float, sd: float, rng: np.random.Generator) -> Curve:
    """Return the curve over budgets of ``DESIGNS`` seeds of each finalist."""
    truth, each = rng.normal(0, spread, (SWEEPS, k)), np.arange(SWEEPS)
    scores = truth + rng.normal(0, sd, (FIRST_SEEDS, SWEEPS, k))
    sums, squares, runs = scores.sum(axis=0), (scores**2).sum(axis=0), np.full((SWEEPS, k), 2.0)
    costs, beyond = np.zeros((len(DESIGNS), SWEEPS)), np.zeros((len(DESIGNS), SWEEPS), dtype=bool)
    for spent in range(FIRST_SEEDS * k, max(DESIGNS) * k + 1):
        means, (variances, df) = sums / runs, seed_variances(sums, squares, runs)
        best = means.argmax(axis=1)[:, None]
        of_means = variances / runs
        of_best = np.take_along_axis(of_means, best, 1)
        welch = of_means**2 / (runs - 1) + of_best**2 / (np.take_along_axis(runs, best, 1) - 1)
        pair_df = np.minimum(np.minimum(PRIOR_DF, df) + (of_means + of_best) ** 2 / welch, df)
        behind = np.take_along_axis(means, best, 1) - means + MARGIN
        chances = stdtr(pair_df, -behind / np.sqrt(of_means + of_best))
        np.put_along_axis(chances, best, 0.0, 1)
        wrong = truth.max(axis=1) - truth[each, best[:, 0]] > MARGIN
        for i, n in enumerate(DESIGNS):
            of_fixed = ndtr(-MARGIN / np.sqrt(2 * variances.mean(axis=1) / n))
            right = chances.max(axis=1) <= np.maximum(LEAST_RISK, SHARE_OF_RISK * of_fixed)
            ends = (costs[i] == 0) & (right | (spent >= n * k))
            costs[i, ends], beyond[i, ends] = spent, wrong[ends]
        following = by_allocation(means, runs, variances)
        score = truth[each, following] + rng.normal(0, sd, SWEEPS)
        sums[each, following] += score
        squares[each, following] += score**2
        runs[each, following] += 1
    return [*costs.mean(axis=1)], [*beyond.mean(axis=1)]


def oracle(
    k: int, spread: float, sd: float, most: int, ahead: int, rng: np.random.Generator
) -> Curve:
    """Return the curve over the ``RISKS`` at which it ends; ``ahead`` 0: by allocation."""
    truth, each = rng.normal(0, spread, (OF_ORACLE, k)), np.arange(OF_ORACLE)
    sums, runs = truth + rng.normal(0, sd, truth.shape), np.ones((OF_ORACLE, k))
    risks, beyond = [], []
    for _ in range(k, most + 1):
        precisions = 1 / spread**2 + runs / sd**2
        means = sums / sd**2 / precisions
        risks.append(risk(means, 1 / precisions))
        beyond.append(truth.max(axis=1) - truth[each, means.argmax(axis=1)] > MARGIN)
        following = (
            by_gradient(means, precisions, sd, ahead)
            if ahead
            else by_allocation(means, runs, np.full((OF_ORACLE, k), sd**2))
        )
        sums[each, following] += truth[each, following] + rng.normal(0, sd, OF_ORACLE)
        runs[each, following] += 1
    over, wrong = np.array(risks), np.array(beyond)
    over[-1] = 0.0
    ends = [np.argmax(over <= limit, axis=0) for limit in RISKS]
    return [float(k + end.mean()) for end in ends], [float(wrong[end, each].mean()) for end in ends]


def main() -> None:
    """Print the cost of a race and of the oracle at the regret of fixed seeds, over their cost."""
    print(
        f"{'k':>3} {'spread':>6} {'seed SD':>7} {'race, 10':>9} {'20':>5} {'oracle, 10':>11} {'20':>5}"
    )
    for k, spread, sd in FINALISTS:
        rng = np.random.default_rng([k, int(10 * spread), int(10 * sd)])
        goals = {n: fixed(k, spread, sd, n, rng) for n in (10, 20)}
        ours = race(k, spread, sd, rng)
        curves = [oracle(k, spread, sd, min(30 * k, 180), ahead, rng) for ahead in (0, *AHEAD)]
        shares = [cost_of(*ours, goal) / (k * n) for n, goal in goals.items()]
        shares += [
            np.nanmin([cost_of(*curve, goal) for curve in curves]) / (k * n)
            for n, goal in goals.items()
        ]
        print(f"{k:>3} {spread:>6g} {sd:>7g} {shares[0]:>9.2f} {shares[1]:>5.2f} {shares[2]:>11.2f} "
              f"{shares[3]:>5.2f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
