"""Work of all ranks except 0 in a trial over several devices: they train, and rank 0 does the rest."""

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
    """Take part in ``job`` until its training ends. Writes no files.

    Raises SynchronizedExit if rank 0 stops or ends training, and this process's own errors.
    """
    config = job.config
    job = replace(job, limits=NO_LIMITS)  # rank 0 checks the limits
    stored = methods.build(config.method).base_quantization
    with ExitStack() as held:
        with bench.team.running(job.path):
            inputs, own = bench.inputs(config), quantization_of(config.model)
            base = held.enter_context(bench.pool.lend(config.model, stored or own))
            tuning = Tuning(job, bench, inputs, base, Clock(bench.device), Watch())
        tuning.run(CheckpointFolder(job.path / "checkpoint"), GO_ON)
