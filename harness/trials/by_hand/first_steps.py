"""Repetition of the first steps of a trial, from its configuration alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import methods
from harness.config import TrialConfig
from harness.training.checkpoint import CheckpointFolder
from harness.training.loop import Interrupted
from harness.trials.cost import Clock
from harness.trials.job import Job
from harness.trials.tuning import GO_ON, Tuning, Watch
from harness.trials.workbench import Workbench, quantization_of


class _Steps(Watch):
    """Collects the rows of steps.

    Nothing is evaluated: that draws no random numbers and changes no weight, so the losses are the
    same without.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def step(self, row: dict[str, Any]) -> None:
        self.rows.append(row)


def first_steps(config: TrialConfig, steps: int, folder: Path, device: str) -> list[dict[str, Any]]:
    """Return the rows of the first ``steps`` training steps; fewer if it diverges before.

    Everything is made anew in ``folder``, also tokens and a stage before the task. Raises InputError.
    """
    cache = folder / "cache"
    job = Job(str(folder / "trial"), str(cache), config.method["name"], config)
    bench = Workbench(device, cache)
    inputs, watch = bench.inputs(config), _Steps()
    stored = methods.build(config.method).base_quantization
    try:
        with bench.pool.lend(config.model, stored or quantization_of(config.model)) as base:
            tuning = Tuning(job, bench, inputs, base, Clock(device), watch)
            control = replace(GO_ON, stopping=lambda: len(watch.rows) >= steps)
            tuning.run(CheckpointFolder(job.path / "checkpoint"), control)
    except Interrupted:
        pass  # as asked
    return watch.rows
