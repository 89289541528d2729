"""The user's limits as constraints on the sampler and on the finalists."""

from __future__ import annotations

from collections.abc import Mapping

from harness.config import SweepConfig
from harness.records import Record
from harness.statistics.measurements.names import FORGETTING_KL


def training_seconds(cost: Mapping[str, float]) -> float | None:
    """Return seconds of training and preparation of the method; None if not measured."""
    seconds = cost.get("train_seconds")
    return None if seconds is None else seconds + cost.get("preparation_seconds", 0.0)


def excesses(record: Record, sweep: SweepConfig) -> dict[str, float]:
    """Return the excess over each limit whose quantity was measured; a limit is kept if it is ≤ 0.

    Each is a fraction of the limit, so that a sampler may sum them.
    """
    limits = sweep.limits
    forgetting = next((name for name in sweep.objectives if name.startswith("forgetting")), None)
    seconds = training_seconds(record.cost)
    measured = {
        "peak_memory_gb": (limits.peak_memory_gb, record.cost.get("peak_memory_gb")),
        "minutes": (limits.minutes, None if seconds is None else seconds / 60),
        "trainable_parameters": (
            limits.trainable_parameters,
            record.cost.get("trainable_parameters"),
        ),
        "forgetting": (limits.forgetting, record.value(forgetting or FORGETTING_KL)),
    }
    return {
        name: float(value - limit) / limit
        for name, (limit, value) in measured.items()
        if limit is not None and value is not None
    }
