"""Influence of each item on a score: the jackknife, for any score that is a function of sums."""

from __future__ import annotations

import numpy as np

from harness.statistics.scores import Array, with_count


def influences(name: str, statistics: Array) -> Array:
    """(..., n, k) per-item statistics -> (..., n) influences on the score, their mean exactly 0.

    Jackknife influence of item j: (n − 1)(θ − θ₍₋ⱼ₎), θ₍₋ⱼ₎ the score without it (Efron & Tibshirani
    1993, eq. 11.5). var(influences)/n is the jackknife's variance of the score over items, and the
    covariance of two systems' influences gives that of their scores: they answered the same items.
    Of a mean it is exactly xⱼ − mean. Assumes items drawn independently and a score that is smooth in
    the sums. NaN where the score is not defined without some item, and for a single item.
    """
    function, columns = with_count(name, np.asarray(statistics, dtype=np.float64))
    n = columns.shape[-2]
    if n < 2:
        return np.full(columns.shape[:-1], np.nan)
    with np.errstate(all="ignore"):
        without = function(columns.sum(axis=-2, keepdims=True) - columns)
    influence = (n - 1) * -without
    return influence - influence.mean(axis=-1, keepdims=True)
