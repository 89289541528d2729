"""Standard errors of a mean over clustered items, such as questions on one passage."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np

from harness.statistics.measurements.formulas import Array
from harness.statistics.unseen import agreed_error


def mean_error(values: Array, clusters: Sequence[Hashable] | None = None) -> float | None:
    """Return the standard error of the mean of (n,) values; ``clusters`` names each item's cluster.

    The error is cluster-robust (Liang & Zeger 1986) with the usual correction for G clusters, as in
    Miller 2024, arXiv:2411.00640, §2.2: SE² = G/(G − 1) · Σ_g (Σ_{i in g} (x_i − mean))² / n². If every
    item is its own cluster, this is s/√n. The values may be paired changes. Yes/no results that all
    agree, or changes of them, have the error of ``agreed_error``. Returns None for a single item or a
    single cluster.
    """
    values = np.asarray(values, dtype=float)
    n = len(values)
    if n > 1 and (values == values[0]).all():
        groups = len({*clusters}) if clusters is not None else n
        return agreed_error(values, groups) if groups > 1 else None
    if clusters is None:
        return float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else None
    which = _numbered(clusters)
    sums = np.bincount(which, weights=values - values.mean())
    g = len(sums)
    if g < 2:
        return None
    return math.sqrt(g / (g - 1) * float(np.square(sums).sum())) / n


def mean_interval(
    values: Array, clusters: Sequence[Hashable], level: float = 0.95
) -> tuple[float, float] | None:
    """Return mean ± t(G − 1) · SE over G clusters; None for a single cluster."""
    from scipy import stats  # imported late, because a report does not need it

    error = mean_error(values, clusters)
    if error is None:
        return None
    mean = float(np.asarray(values, dtype=float).mean())
    reach = float(stats.t.ppf((1 + level) / 2, len(set(clusters)) - 1)) * error
    return mean - reach, mean + reach


def _numbered(clusters: Sequence[Hashable]) -> np.ndarray:
    """Return (n,) cluster numbers from 0, in the order of first appearance."""
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(cluster, len(known)) for cluster in clusters])
