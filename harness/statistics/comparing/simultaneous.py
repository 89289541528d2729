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
    """P(|T| ≥ |t|) of Student's t."""
    return float(2 * special.stdtr(df, -abs(t)))


def reach(df: float, level: float = LEVEL) -> float:
    """Standard errors on either side of an estimate in its 1 − ``level`` interval."""
    return float(special.stdtrit(df, 1 - level / 2))


def tukey_reach(k: int, df: float, level: float = LEVEL) -> float:
    """Standard errors by which some two of k equal means differ with probability ``level``.

    q(1 − level; k, df)/√2 of the studentized range (Tukey 1953; Kramer 1956). With an error and degrees
    of freedom of each pair's own it is the test of Games & Howell 1976, which holds the level nearly.
    """
    return reach(df, level) if k < 3 else range_quantile(level, k, _rounded(df)) / math.sqrt(2)


def tukey_p(t: float, k: int, df: float) -> float:
    """P-value of one difference of ``t`` standard errors among all pairs of k means."""
    if k < 3:
        return two_sided_p(t, df)
    return range_sf(abs(t) * math.sqrt(2), k, min(df, INFINITE))


def best_reach(k: int, df: Array | float, level: float = LEVEL) -> Array:
    """(...) standard errors that bound k − 1 differences at once from one side, for (...) ``df``.

    t(1 − level/(k − 1)), for the multiple comparisons with the best of Hsu 1984. Bonferroni's bound
    is at most a tenth longer than Dunnett's quantile, and true whatever the correlations are.
    """
    return np.asarray(special.stdtrit(df, 1 - level / max(1, k - 1)))


def _rounded(df: float) -> float:
    """Down by less than 5 %, which moves the quantile by 1 %: few integrals for many pairs."""
    return INFINITE if df >= INFINITE else 1.05 ** math.floor(math.log(df) / math.log(1.05))
