"""Scores redrawn for other items and seeds, from the estimated errors."""

from __future__ import annotations

import numpy as np

from harness.statistics.comparing.standard_errors import Errors
from harness.statistics.scores import Array


def redraw(
    errors: Errors, means: Array, draws: int, rng: np.random.Generator, df: float = np.inf
) -> Array:
    """Redraw (k,) means as (B, k): items jointly for all candidates, seeds independently for each.

    A parametric bootstrap (Efron & Tibshirani 1993, §6.5): normal, with the estimated covariance.
    Drawing two or three seeds with replacement would carry only (S − 1)/S of their variance.
    Unknown errors add nothing. A finite ``df`` draws from the multivariate t distribution instead.
    """
    k = len(means)
    covariance = np.array(errors.item_covariance)[:k, :k]
    covariance[np.diag_indices(k)] += [errors.seed_variance(i) for i in range(k)]
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    drawn = rng.standard_normal((draws, k)) @ root.T
    if np.isfinite(df):
        drawn *= np.sqrt(df / rng.chisquare(df, (draws, 1)))
    return means + drawn
