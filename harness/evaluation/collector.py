"""Measurements of an evaluation, with the per-example statistics they are computed from."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from harness.language import recorded
from harness.records import Measurement
from harness.statistics.comparing.influence import influences
from harness.statistics.measurements.definitions import own_kind, unit_of
from harness.statistics.resampling import bootstrap_scores, draw_counts, percentile_interval
from harness.statistics.scores import aggregate
from harness.statistics.unseen import unseen_variance


@lru_cache(maxsize=8)
def _counts(n: int, resamples: int) -> np.ndarray:
    """Draw (resamples, n) counts once, so that measurements of the same examples share resamples."""
    return draw_counts(n, resamples, np.random.default_rng(0))


@dataclass
class MeasurementCollector:
    """Collects measurements by name. ``items`` holds their (n, k) statistics, see ``scores``."""

    resamples: int
    measurements: dict[str, Measurement] = field(default_factory=dict)
    items: dict[str, np.ndarray] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)  # name → why there is no value
    may_come: bool = False  # something is missing that another attempt may find
    predictions: list[dict[str, object]] = field(default_factory=list)
    files: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # further rows to write
    how_answered: str = ""  # part of the signatures: how the predictions were generated
    generation_tokens_per_second: float | None = None
    cost: dict[str, float] = field(default_factory=dict)  # requests, tokens and price of a judge
    base: dict[str, Measurement] = field(default_factory=dict)  # of the base, from the same judge

    def values(self) -> dict[str, float]:
        return {name: measurement.value for name, measurement in self.measurements.items()}

    def add(
        self, name: str, statistics: np.ndarray, signature: str, *, at_least: bool = False
    ) -> None:
        """Add the score of (n, k) ``statistics`` with its interval over the n examples.

        ``at_least`` marks a lower bound, which its unit states. A score that is not finite (a
        perplexity that overflows) is recorded as missing.
        """
        with np.errstate(over="ignore"):
            value = float(aggregate(name, statistics))
            interval = None
            if len(statistics) > 1:
                interval = self._interval(name, statistics, value)
        self.items[name] = statistics
        if not math.isfinite(value):
            self.miss(name, recorded("it is no finite number: {value}", value=value), for_good=True)
            return
        if interval is not None and not all(map(math.isfinite, interval)):
            interval = None
        unit = unit_of(name) + ", at least" * at_least
        self.measurements[name] = Measurement(value, unit, len(statistics), interval, signature)

    def _interval(self, name: str, statistics: np.ndarray, value: float) -> tuple[float, float]:
        """Return the bootstrap interval; for yes/no results, where it may be a point, a normal one."""
        unseen = unseen_variance(name, statistics)
        of_items = influences(name, statistics)
        if not unseen or not np.isfinite(of_items).all():
            counts = _counts(len(statistics), self.resamples)
            return percentile_interval(bootstrap_scores(name, statistics, counts))
        half = 1.96 * math.sqrt(float(of_items.var(ddof=1)) / len(of_items) + unseen)
        least, most = own_kind(name).span
        return max(least, value - half), min(most, value + half)

    def add_value(self, name: str, value: float, n: int, signature: str) -> None:
        """Add a score of n examples that per-example statistics cannot give. It has no interval."""
        if not math.isfinite(value):
            self.miss(name, recorded("it is no finite number: {value}", value=value), for_good=True)
            return
        self.measurements[name] = Measurement(value, unit_of(name), n, None, signature)

    def miss(self, name: str, reason: str, *, for_good: bool = False) -> None:
        """Record that ``name`` was requested but could not be measured, with a one-line ``reason``.

        ``for_good`` means that another attempt on the same model and texts would fail as well.
        """
        self.missing[name] = " ".join(reason.split())[:500]
        self.may_come |= not for_good
