"""The training loop's connections to the trial: callbacks, and the ways in which it ends early."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.training.distributed.team import SynchronizedExit


class Diverged(SynchronizedExit):
    """The loss is no longer finite."""

    def __init__(self, step: int, what: str) -> None:
        super().__init__(f"{what} at step {step}")
        self.step = step


class Interrupted(SynchronizedExit):
    """The process was asked to stop; a checkpoint has been written."""


@dataclass(frozen=True)
class Hooks:
    """Callbacks of the training loop into the trial."""

    on_begin: Callable[[int], None]  # training resumes after that many steps
    on_step: Callable[[dict[str, Any]], None]
    on_evaluation: Callable[[int], bool]  # after that many steps, 0 included; False: stop here
    on_checkpoint: Callable[[], None]  # before each: files on disk must reach the same step
    stopping: Callable[[], bool]  # checked before every step: write a checkpoint and stop
