"""Repeated measurements of one configuration: scores by seed, and variation over items and seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from harness.statistics.comparing.influence import influences
from harness.statistics.measurements.definitions import METRIC_DEFINITIONS, kind_of
from harness.statistics.scores import Array, aggregate
from harness.statistics.unseen import unseen_variance


@dataclass(frozen=True)
class Replicates:
    """Scores of S seeds on the same n items, with the influence of each item if known."""

    values: Array  # (S,)
    seeds: tuple[int, ...]
    influences: Array | None = field(
        default=None, repr=False
    )  # (S, n); None without per-item results
    item_error: float | None = None  # standard error over items, if only that was recorded
    unseen: float = 0.0  # variance over items that the influences of yes/no results do not show
    fixed: bool = False  # True for the untouched base, which does not depend on seeds

    @property
    def mean(self) -> float:
        return float(self.values.mean())

    @property
    def n(self) -> int | None:
        """Number of items."""
        return None if self.influences is None else self.influences.shape[1]

    @cached_property
    def mean_influence(self) -> Array:
        """Return (n,) influences of the items on the mean over seeds."""
        assert self.influences is not None
        return self.influences.mean(axis=0)

    @cached_property
    def spread(self) -> float | None:
        """Return the variance of the (S,) scores over seeds (S − 1 degrees); None for one seed."""
        return float(self.values.var(ddof=1)) if len(self.values) > 1 else None

    @cached_property
    def interaction(self) -> float | None:
        """Return the ``spread`` expected if a seed changed each item's result independently, or None.

        This is MS(items × seeds)/n of the two-way layout, with (S − 1)(n − 1) degrees of freedom.
        It is therefore known far better than ``spread``, which has S − 1.
        """
        if self.influences is None or len(self.values) < 2:
            return None
        seeds, n = self.influences.shape
        left = self.influences - self.mean_influence
        return float(np.square(left).sum()) / ((seeds - 1) * (n - 1) * n)


def replicates(
    name: str, statistics: Array, seeds: Sequence[int], items_known: bool = True
) -> Replicates:
    """Build replicates from (S, n, k) per-item statistics; of the logarithm for a perplexity."""
    statistics = np.asarray(statistics, dtype=np.float64)
    values = np.atleast_1d(aggregate(name, statistics))
    found = influences(name, statistics) if items_known else None
    if found is not None and is_logarithmic(name):
        found = found / values[:, None]
    if found is not None and not np.isfinite(found).all():
        found = None
    unseen = 0.0 if found is None else unseen_variance(name, statistics)
    return Replicates(to_scale(name, values), tuple(seeds), found, unseen=unseen)


def is_logarithmic(name: str) -> bool:
    """Return True if this measurement is compared by its logarithm, in nats per token."""
    kind = METRIC_DEFINITIONS.get(kind_of(name))
    return kind is not None and kind.logarithmic


def to_scale(name: str, values: Array) -> Array:
    """Convert values to the scale on which they are compared."""
    return np.log(values) if is_logarithmic(name) else np.asarray(values, dtype=float)


def from_scale(name: str, value: float) -> float:
    """Convert values back from the scale on which they are compared."""
    return math.exp(value) if is_logarithmic(name) else value
