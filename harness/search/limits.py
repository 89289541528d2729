"""The user's limits as constraints on the sampler and on the finalists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.compose.method_plan import MethodPlan
from harness.config import LimitsConfig, SweepConfig
from harness.config.strict import require
from harness.errors import InputError
from harness.records import Record
from harness.search.planning.needs import MethodMemory
from harness.statistics.measurements.names import FORGETTING_KL

TOO_SLOW = 5.0  # times limits.minutes: steps measured on a busy machine take a few times longer

DURATIONS = ("training.max_steps", "training.epochs")  # the least of them is not measured


def training_seconds(cost: Mapping[str, float]) -> float | None:
    """Return seconds of training and preparation of the method; None if not measured."""
    seconds = cost.get("train_seconds")
    return None if seconds is None else seconds + cost.get("preparation_seconds", 0.0)


def check_reachable(
    limits: LimitsConfig, plans: Sequence[MethodPlan], needs: Mapping[str, MethodMemory]
) -> None:
    """Raise InputError if the measured steps show that no method can keep the limits."""
    whys = [f"{plan.method}: {why}" for plan in plans if (why := needs[plan.method].none_fits)]
    if len(whys) == len(plans):
        raise InputError(
            f"No trial can be run: {'; '.join(whys)}. Smaller values of training.batch_size, "
            "data.max_length or the method's size need less, as do other methods."
        )
    least = [
        seconds for plan in plans if (seconds := least_seconds(needs[plan.method])) is not None
    ]
    fixed = not any(key in plan.space for plan in plans for key in DURATIONS)
    if limits.minutes is not None and len(least) == len(plans) and fixed:
        fastest = min(least) / 60
        require(
            fastest <= TOO_SLOW * limits.minutes,
            "limits.minutes",
            limits.minutes,
            f"null or, by the measured steps, about {1.2 * fastest:.2g} or more: the fastest method "
            f"trains for {fastest:.2g} minutes. training.max_steps shortens that",
        )


def least_seconds(memory: MethodMemory) -> float | None:
    """Return the shortest training of the measured configurations; None if none was measured."""
    found = [one.footprint for one in memory.measured]
    return min(
        (f.step_seconds * f.total_steps for f in found if f.micro_batch_size > 0), default=None
    )


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
