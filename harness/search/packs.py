"""Packs: search trials of one method that a worker trains together on one base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from harness import methods
from harness.compose.method_plan import MethodPlan
from harness.config import SweepConfig, TrialConfig
from harness.config.strict import require
from harness.records.footprint import Footprint
from harness.search.planning.needs import MethodMemory
from harness.search.running_trials import LOST
from harness.training.packed.settings import cannot_pack, shared
from harness.trials.job import Job

# Trials of a pack, with launcher.pack=auto. On one CPU core packs of 4 took 0.7 of the steps' time of
# single trials with one sequence a step, and 0.9 with eight: a larger batch keeps the core busy by
# itself. Packs of 8 took more than packs of 4.
MOST, MOST_ON_A_CPU = 8, 4
SMALL_BATCH = 2
ROUNDS = 4  # auto: a sampler that learns from results sees those of so many packs
LEARNING = ("tpe", "gp", "cmaes", "nsga2")
ROOM = 0.9  # share of the free memory that is planned with
# Fields of a method in which the trials of a pack are equal; they may differ in all others.
SAME_IN_METHOD = ("name", "target_modules", "quantization", "double_quantization")


def pack_sizes(
    sweep: SweepConfig,
    plans: Sequence[MethodPlan],
    needs: Mapping[str, MethodMemory],
    sharing: int,
) -> dict[str, int]:
    """Return by method how many search trials a worker may train together; 1 is one at a time.

    ``sharing`` is the number of workers on one device.
    """
    asked = sweep.launcher.pack
    if _needs_own_costs(sweep) is not None:
        return dict.fromkeys((plan.method for plan in plans), 1)
    sizes = {}
    for plan in plans:
        size = _fitting(sweep, needs[plan.method], sharing) if asked == "auto" else asked
        sizes[plan.method] = size if can_pack(plan.trial({})) else 1
    return sizes


def check_packs(sweep: SweepConfig) -> None:
    """Raise InputError if packs are asked for that other settings do not allow."""
    pack, why = sweep.launcher.pack, _needs_own_costs(sweep)
    require(pack in ("auto", 1) or why is None, "launcher.pack", pack, f"auto or 1 with {why}")


def packs_in_words(sweep: SweepConfig, sizes: Mapping[str, int]) -> str | None:
    """Return a line of the plan; None if each trial trains alone and nothing else was asked for."""
    together = [f"{n} search trials of {method}" for method, n in sizes.items() if n > 1]
    alone = [method for method, n in sizes.items() if n == 1]
    if together:
        others = f"; those of {', '.join(alone)} one by one" if alone else ""
        return (
            f"up to {' or '.join(together)} train together{others}. Times and memory here are those of "
            "a trial alone"
        )
    if sweep.launcher.pack in ("auto", 1):
        return None
    pack = f"launcher.pack={sweep.launcher.pack}"
    return f"{pack} has no effect: trials of {', '.join(alone)} train alone"


def _needs_own_costs(sweep: SweepConfig) -> str | None:
    """Return the setting for which each trial needs a process, time or memory of its own; or None."""
    launcher, search, limits = sweep.launcher, sweep.search, sweep.limits
    decide = {
        "limits.minutes": limits.minutes,
        "limits.peak_memory_gb": limits.peak_memory_gb,
        "search.seconds": search.seconds,
        "search.gpu_hours": search.gpu_hours,
        "budget": sweep.budget,
    }
    by_value = {
        f"launcher={launcher.name}": launcher.name != "local",
        f"launcher.devices_per_trial={launcher.devices_per_trial}": launcher.devices_per_trial > 1,
        "launcher.isolate=true": launcher.isolate,
        "confirm.finalists=0": sweep.confirm.finalists == 0,  # then the report shows search trials
    }
    found = [setting for setting, alone in by_value.items() if alone]
    for key, value in decide.items():
        if value is not None:
            found.append(f"{key}={value}" if isinstance(value, str) else f"{key}={value:g}")
    return found[0] if found else None


def can_pack(config: TrialConfig) -> bool:
    """Return whether trials like this one may be trained together. Their worker decides."""
    retention = config.retention
    held = (retention.replay_share, retention.kl_weight, retention.l2_sp_weight)
    return (
        methods.build(config.method).packs
        and cannot_pack(config.training) is None
        and not any((*held, retention.ewc_weight))
        and not config.data.is_classification
        and config.model.quantization != "int8"
    )


def go_together(one: Job, other: Job) -> bool:
    """Return whether two trials may be in one pack: alike in all that it shares, and not begun."""
    begun = any((job.path / name).exists() for job in (one, other) for name in (LOST, "checkpoint"))
    return not begun and can_pack(other.config) and _in_common(one) == _in_common(other)


def _in_common(job: Job) -> dict[str, Any]:
    config = job.config
    own = {key: config.method.get(key) for key in SAME_IN_METHOD}
    return asdict(config) | {"seed": None, "method": own, "training": shared(config.training)}


def _fitting(sweep: SweepConfig, memory: MethodMemory, sharing: int) -> int:
    """Return how many trials are worthwhile and fit, by the measured steps; 1 if none was measured."""
    found = [
        one.footprint
        for one in memory.measured
        if one.footprint.micro_batch_size > 0 and one.too_large is None
    ]
    batches = [one.micro_batch_size for one in found if one.device == "cpu"]
    if not found or max(batches, default=0) > SMALL_BATCH:
        return 1
    bound = MOST_ON_A_CPU if batches else MOST
    most = min(bound, *(_in_memory(one, sharing) for one in found))
    if sweep.search.sampler in LEARNING:
        most = min(most, sweep.search.trials // ROUNDS)
    return max(1, most)


def _in_memory(one: Footprint, sharing: int) -> int:
    """Return how many trials with the footprint ``one`` fit beside each other on one base."""
    # Its weights are twice more: those of the pack, and its own from which checkpoints are written.
    further = one.activations_gb + one.optimizer_gb + 3 * one.gradients_gb
    room = ROOM * one.available_gb / sharing - one.needed_gb
    return 1 + int(max(0.0, room) / further) if further > 0 else 1
