"""Jackknife influence of each item on a score, for any score that is a function of sums."""

from __future__ import annotations

import numpy as np

from harness.statistics.scores import Array, with_count


def influences(name: str, statistics: Array) -> Array:
    """Return (..., n) influences on the score from (..., n, k) per-item statistics; their mean is 0.

    The influence of item j is (n − 1)(θ − θ₍₋ⱼ₎), with θ₍₋ⱼ₎ the score without item j (Efron &
    Tibshirani 1993, eq. 11.5). For a mean it is exactly xⱼ − mean. var(influences)/n is the jackknife
    variance of the score over items. The covariance of two candidates' influences gives the covariance
    of their scores, because they answered the same items. Items must be drawn independently, and the
    score must be smooth in the sums. NaN if the score is undefined without some item, and for a single
    item.
    """
    function, columns = with_count(name, np.asarray(statistics, dtype=np.float64))
    n = columns.shape[-2]
    if n < 2:
        return np.full(columns.shape[:-1], np.nan)
    with np.errstate(all="ignore"):
        without = function(columns.sum(axis=-2, keepdims=True) - columns)
    influence = (n - 1) * -without
    return influence - influence.mean(axis=-1, keepdims=True)
