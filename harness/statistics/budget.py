"""Expected best of n trials, for comparing methods at equal numbers of trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from harness.statistics.scores import Array

CERTAIN = 0.95  # share of draws that must hold a score, for their best to be given


@dataclass(frozen=True)
class BestOf:
    """Best of ``n`` trials: its mean, and the central 80 % of what searches of n trials find."""

    n: int
    mean: float
    low: float
    high: float


def best_of(scores: Sequence[float | None], sizes: Sequence[int], maximize: bool) -> list[BestOf]:
    """Return the best of n of the m trials for each size, n <= m; None is a trial without a score.

    The mean is that of n trials drawn without replacement, as in ``expected_best``: it is unbiased. The
    band holds the best of n drawn with replacement (Dodge et al. 2019), so that it does not vanish at
    n = m, where the mean is the best of all. A trial without a score counts as one that was spent. A
    draw of such trials alone has no best and is left out; a size at which that is more than a twentieth
    of the draws is left out too.
    """
    sign = 1.0 if maximize else -1.0
    ordered = np.sort([sign * score for score in scores if score is not None])
    total, known = len(scores), len(ordered)
    places = np.arange(total - known, total + 1.0)  # trials that a score is not worse than
    found = []
    for n in sizes:
        below = _share_of_draws(places, n, total)
        if known == 0 or 1 - below[0] < CERTAIN:
            continue
        weights = np.diff(below) / (1 - below[0])
        reached = ((places / total) ** n - (places[0] / total) ** n)[1:]
        reached /= 1 - (places[0] / total) ** n
        ends = [ordered[min(np.searchsorted(reached, share), known - 1)] for share in (0.1, 0.9)]
        low, high = sorted(sign * float(end) for end in ends)
        found.append(BestOf(n, sign * float(weights @ ordered), low, high))
    return found


def _share_of_draws(places: Array, n: int, total: int) -> Array:
    """Return the share of draws of n of ``total`` trials that lie within the first ``places``."""
    inside = np.maximum(places, n)
    logarithm = gammaln(inside + 1) - gammaln(inside - n + 1)
    logarithm -= gammaln(total + 1) - gammaln(total - n + 1)
    return np.where(places >= n, np.exp(logarithm), 0.0)


def expected_best(scores: Sequence[float], n: int, unbiased: bool = True) -> float:
    """Return the expected maximum of n of the scores.

    The biased form draws n scores with replacement (Dodge et al. 2019, arXiv:1909.03004). The unbiased
    form draws without replacement, so n <= len(scores) (Tang et al. 2020, arXiv:2004.13705). For a
    measurement that is minimized, pass negated scores and negate the result.
    """
    ordered, total = sorted(scores), len(scores)
    if unbiased:
        assert 1 <= n <= total, f"best of {n} from {total} trials"
        weights = [
            (math.comb(i, n) - math.comb(i - 1, n)) / math.comb(total, n)
            for i in range(1, total + 1)
        ]
    else:
        weights = [(i / total) ** n - ((i - 1) / total) ** n for i in range(1, total + 1)]
    return sum(weight * score for weight, score in zip(weights, ordered, strict=True))
