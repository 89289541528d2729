"""Scores as other items and other seeds would have given them, by the errors that were estimated."""

from __future__ import annotations

import numpy as np

from harness.statistics.comparing.standard_errors import Errors
from harness.statistics.scores import Array


def redraw(errors: Errors, means: Array, draws: int, rng: np.random.Generator) -> Array:
    """(k,) means -> (B, k): items drawn together for all candidates, seeds for each on its own.

    A parametric bootstrap (Efron & Tibshirani 1993, §6.5): normal, with the estimated covariance.
    To draw two or three seeds with replacement would carry (S − 1)/S of their variance. Errors that
    nobody knows add nothing.
    """
    k = len(means)
    covariance = np.array(errors.item_covariance)
    covariance[np.diag_indices(k)] += [errors.seed_variance(i) for i in range(k)]
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    return means + rng.standard_normal((draws, k)) @ root.T
