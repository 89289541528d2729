"""Scores from per-example sufficient statistics, for one sample or for thousands of resamples.

Each example keeps a few numbers whose sums over the examples determine the score. A score is then a
function of the summed columns, so a bootstrap is one matrix product. The columns are those of
`items.jsonl`; `measurements/definitions.py` defines each kind of measurement.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harness.statistics.measurements.definitions import METRIC_DEFINITIONS, kind_of
from harness.statistics.measurements.formulas import Array, ratio

__all__ = [
    "METRIC_DEFINITIONS",
    "Array",
    "aggregate",
    "aggregate_resamples",
    "can_aggregate",
    "kind_of",
    "with_count",
]


def can_aggregate(name: str, statistics: Array) -> bool:
    """Return True if (..., n, k) statistics can be scored: a known kind with the right k."""
    if statistics.ndim < 2 or statistics.shape[-2] == 0:
        return False
    kind, columns = kind_of(name), statistics.shape[-1]
    if kind in METRIC_DEFINITIONS:
        return columns in METRIC_DEFINITIONS[kind].columns
    return columns == 1  # any other metric: a plain mean over examples


def with_count(name: str, statistics: Array) -> tuple[Callable[[Array], Array], Array]:
    """Return the scoring function, and the statistics with a column of ones if it divides by n."""
    kind = METRIC_DEFINITIONS.get(kind_of(name))
    function = ratio if kind is None else kind.score
    if kind is None or kind.counted:
        ones = np.ones((*statistics.shape[:-1], 1))
        statistics = np.concatenate([statistics, ones], axis=-1)
    return function, statistics


def aggregate(name: str, statistics: Array) -> Array:
    """Return (...) scores over all n examples of (..., n, k) per-example statistics."""
    assert can_aggregate(name, statistics), f"{name}: no score from shape {statistics.shape}"
    function, columns = with_count(name, np.asarray(statistics, dtype=np.float64))
    with np.errstate(all="ignore"):  # a score that is not finite is for the caller to drop
        return function(columns.sum(axis=-2))


def aggregate_resamples(name: str, statistics: Array, counts: Array) -> Array:
    """Return (B,) scores of B resamples, from (n, k) statistics and (B, n) counts of each example."""
    function, columns = with_count(name, np.asarray(statistics, dtype=np.float64))
    with np.errstate(all="ignore"):
        return function(counts @ columns)
