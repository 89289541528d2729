"""What an evaluation gives: measurements, and the per-example statistics they are made of."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from harness.records import Measurement
from harness.statistics.resampling import bootstrap_scores, draw_counts, percentile_interval
from harness.statistics.scores import aggregate

UNITS = {
    "bleu": "BLEU points",
    "chrf": "chrF points",
    "perplexity": "per token",
    "bits_per_byte": "bits/byte",
    "kl": "nats/token",
    "kl_target": "nats/token",
    "nll": "nats/token",
    "tasks": "accuracy change",
    "accuracy": "share of texts",
    "macro_f1": "mean F1 of the classes",
    "loss": "nats/text",
}


@lru_cache(maxsize=8)
def _counts(n: int, resamples: int) -> np.ndarray:
    """(resamples, n) drawn once: measurements of the same examples see the same resamples."""
    return draw_counts(n, resamples, np.random.default_rng(0))


@dataclass
class Measured:
    """Collects measurements by name; ``items`` holds their (n, k) statistics, see ``scores``."""

    resamples: int
    measurements: dict[str, Measurement] = field(default_factory=dict)
    items: dict[str, np.ndarray] = field(default_factory=dict)
    predictions: list[dict[str, object]] = field(default_factory=list)
    generation_tokens_per_second: float | None = None

    def values(self) -> dict[str, float]:
        return {name: measurement.value for name, measurement in self.measurements.items()}

    def add(self, name: str, statistics: np.ndarray, signature: str) -> None:
        """The score of (n, k) ``statistics`` with its bootstrap interval over the n examples.

        A score that is no finite number (a perplexity that overflows) is left out.
        """
        with np.errstate(over="ignore"):
            value = float(aggregate(name, statistics))
            interval = None
            if len(statistics) > 1:
                counts = _counts(len(statistics), self.resamples)
                interval = percentile_interval(bootstrap_scores(name, statistics, counts))
        self.items[name] = statistics
        if not math.isfinite(value):
            return
        if interval is not None and not all(map(math.isfinite, interval)):
            interval = None
        unit = UNITS[name.split(".")[1]]
        self.measurements[name] = Measurement(value, unit, len(statistics), interval, signature)
