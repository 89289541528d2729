"""Expected best of n trials, for comparing methods at equal numbers of trials."""

from __future__ import annotations

import math
from collections.abc import Sequence


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


def running_best(scores: Sequence[float | None], maximize: bool) -> list[float | None]:
    """Return the best score after each trial, for trials in the order of their proposal.

    A trial without a score (pruned, failed) still counts as one trial of the budget.
    """
    best: float | None = None
    curve: list[float | None] = []
    for score in scores:
        if score is not None and (best is None or (score > best if maximize else score < best)):
            best = score
        curve.append(best)
    return curve
