"""Work of the other devices of a trial: they train, and the first device does the rest."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import Any, cast

from harness import methods
from harness.config import LimitsConfig
from harness.models.load import Base
from harness.training.checkpoint import CheckpointFolder
from harness.trials.artifacts import EventLog
from harness.trials.cost import Clock
from harness.trials.job import Job
from harness.trials.tuning import Control, Tuning
from harness.trials.workbench import BaseResults, Inputs, Workbench, quantization_of

UNUSED = cast(BaseResults, None)  # nothing is evaluated here


class _NoLog(EventLog):
    """A log that writes nothing: the first device writes it."""

    def begin(self, step: int) -> None: ...

    def step(self, row: dict[str, Any]) -> None: ...

    def flush(self) -> None: ...


class _Following(Tuning):
    def __init__(self, job: Job, bench: Workbench, inputs: Inputs, base: Base) -> None:
        super().__init__(job, bench, inputs, UNUSED, base, Clock(bench.device))
        self.selection = None

    def log_of(self, name: str) -> EventLog:
        return _NoLog(self.job.path / name)

    def _watch(self, step: int) -> dict[str, float]:
        return {}


def follow(job: Job, bench: Workbench) -> None:
    """Take part in ``job`` until its training ends. Writes nothing.

    Raises SynchronizedExit if the first device stops or ends it, and errors of this process.
    """
    config = job.config
    job = replace(
        job, limits=LimitsConfig(None, None, None, None)
    )  # those of the first device are counted
    stored = methods.build(config.method).base_quantization
    with ExitStack() as held:
        with bench.team.together(job.path):
            inputs, own = bench.inputs(config), quantization_of(config.model)
            base = held.enter_context(bench.pool.lend(config.model, stored or own))
            tuning = _Following(job, bench, inputs, base)
        control = Control(lambda step, values: True, lambda: False)
        tuning.run(CheckpointFolder(job.path / "checkpoint"), control)
