"""Repetition of the first steps of a trial, from its configuration alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from harness import methods
from harness.config import LimitsConfig, TrialConfig
from harness.records import read_jsonl
from harness.training.checkpoint import CheckpointFolder
from harness.training.loop import Interrupted
from harness.trials.cost import Clock
from harness.trials.job import Job
from harness.trials.tuning import Control, Tuning
from harness.trials.workbench import BaseResults, Workbench, quantization_of

UNUSED = cast(BaseResults, None)  # nothing is evaluated, so the base's results are not needed


class _WithoutEvaluations(Tuning):
    """Evaluations draw no random numbers and change no weight: the losses are the same without."""

    def _watch(self, step: int) -> dict[str, float]:
        return {}


def first_steps(config: TrialConfig, steps: int, folder: Path, device: str) -> list[dict[str, Any]]:
    """Return the rows of the first ``steps`` training steps; fewer if it diverges before.

    Everything is made anew in ``folder``, also tokens and a stage before the task. Raises InputError.
    """
    job = Job(
        folder=str(folder / "trial"),
        cache=str(folder / "cache"),
        method=config.method["name"],
        config=config,
        limits=LimitsConfig(None, None, None, None),
        trial=0,
        attempt=1,
        fingerprint="",
        configuration="",
        overrides=(),
        searched={},
        asks_pruner=False,
        keep_adapter=False,
    )
    bench = Workbench(device, Path(job.cache))
    inputs = bench.inputs(config)
    stored = methods.build(config.method).base_quantization
    try:
        with bench.pool.lend(config.model, stored or quantization_of(config.model)) as base:
            tuning = _WithoutEvaluations(job, bench, inputs, UNUSED, base, Clock(device))
            control = Control(lambda step, values: True, lambda: tuning.progress.step >= steps)
            tuning.run(CheckpointFolder(job.path / "checkpoint"), control)
    except Interrupted:
        pass  # as asked
    return [row for row in read_jsonl(job.path / "metrics.jsonl") if row["kind"] == "train"]
