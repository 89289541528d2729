"""Callbacks of the training loop, and the exceptions that end it early."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.language import recorded
from harness.training.distributed.team import SynchronizedExit


class Diverged(SynchronizedExit):
    """The loss or a parameter is no longer finite."""

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(reason)
        self.step = step


def check_finite(losses: Mapping[str, float], step: int) -> None:
    """Raise Diverged if a loss of this step is not finite."""
    for name, value in losses.items():
        if not math.isfinite(value):
            reason = recorded(
                "the {loss} became {value} at step {step}",
                loss=name.replace("_", " "),
                value=value,
                step=step,
            )
            raise Diverged(step, reason)


class Interrupted(SynchronizedExit):
    """The process was asked to stop. A checkpoint has been written."""


@dataclass(frozen=True)
class Hooks:
    """Callbacks from the training loop to the trial."""

    on_begin: Callable[[int], None]  # argument: finished steps, above 0 after a resume
    on_step: Callable[[dict[str, Any]], None]  # argument: metrics of the step
    on_evaluation: Callable[[int], bool]  # argument: finished steps; False stops the run
    on_checkpoint: Callable[[], None]  # before each checkpoint: flushes files up to the same step
    stopping: Callable[[], bool]  # checked before every step; True writes a checkpoint and stops
