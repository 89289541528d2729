"""Simultaneous tests of all pairs, and of all against the best, with family-wise error control."""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from harness.statistics.comparing.studentized_range import range_quantile, range_sf
from harness.statistics.measurements.formulas import Array

LEVEL = 0.05
INFINITE = 1e5  # degrees of freedom


def two_sided_p(t: float, df: float) -> float:
    """Return P(|T| ≥ |t|) for Student's t with ``df`` degrees of freedom."""
    return float(2 * special.stdtr(df, -abs(t)))


def reach(df: float, level: float = LEVEL) -> float:
    """Return the half-width of a 1 − ``level`` interval, in standard errors: t(1 − level/2; df)."""
    return float(special.stdtrit(df, 1 - level / 2))


def tukey_reach(k: int, df: float, level: float = LEVEL) -> float:
    """Return the critical difference of Tukey's test of all pairs of k means, in standard errors.

    It is q(1 − level; k, df)/√2 of the studentized range (Tukey 1953; Kramer 1956). With a separate
    error and df for each pair it is the test of Games & Howell 1976, which nearly keeps the level.
    """
    return reach(df, level) if k < 3 else range_quantile(level, k, _rounded(df)) / math.sqrt(2)


def tukey_p(t: float, k: int, df: float) -> float:
    """Return the p-value of one difference of ``t`` standard errors among all pairs of k means."""
    if k < 3:
        return two_sided_p(t, df)
    return range_sf(abs(t) * math.sqrt(2), k, min(df, INFINITE))


def best_reach(k: int, df: Array | float, level: float = LEVEL) -> Array:
    """Return (...) one-sided critical values for k − 1 simultaneous differences, for (...) ``df``.

    t(1 − level/(k − 1)), for the multiple comparisons with the best of Hsu 1984. This Bonferroni bound
    is at most a tenth above Dunnett's quantile, and holds for any correlation.
    """
    return np.asarray(special.stdtrit(df, 1 - level / max(1, k - 1)))


def _rounded(df: float) -> float:
    """Round ``df`` down by less than 5 %, so that many pairs share one cached quantile.

    This moves the quantile by about 1 %.
    """
    return INFINITE if df >= INFINITE else 1.05 ** math.floor(math.log(df) / math.log(1.05))
