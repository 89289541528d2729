"""Work of the other devices of a trial: they train, and the first device does the rest."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from harness import methods
from harness.training.checkpoint import CheckpointFolder
from harness.trials.cost import Clock
from harness.trials.job import NO_LIMITS, Job
from harness.trials.tuning import GO_ON, Tuning, Watch
from harness.trials.workbench import Workbench, quantization_of


def follow(job: Job, bench: Workbench) -> None:
    """Take part in ``job`` until its training ends. Writes nothing.

    Raises SynchronizedExit if the first device stops or ends it, and errors of this process.
    """
    config = job.config
    job = replace(job, limits=NO_LIMITS)  # those of the first device are counted
    stored = methods.build(config.method).base_quantization
    with ExitStack() as held:
        with bench.team.running(job.path):
            inputs, own = bench.inputs(config), quantization_of(config.model)
            base = held.enter_context(bench.pool.lend(config.model, stored or own))
            tuning = Tuning(job, bench, inputs, base, Clock(bench.device), Watch())
        tuning.run(CheckpointFolder(job.path / "checkpoint"), GO_ON)
