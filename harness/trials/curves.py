"""Curves of a trial: the model measured and logged as it trains, and its best step kept."""

from __future__ import annotations

from typing import Any

from harness.evaluation.suite import evaluate_during_training
from harness.models.weights.master_weights import computing
from harness.trials.artifacts import EventLog
from harness.trials.best_step import Selection
from harness.trials.job import Job
from harness.trials.tuning import Tuning, Watch
from harness.trials.workbench import BaseResults, Inputs


class CurveWatch(Watch):
    """Writes ``metrics.jsonl``, and keeps the step that the trial shall end with."""

    def __init__(self, job: Job, inputs: Inputs, before: BaseResults) -> None:
        self.before = before
        self.log = EventLog(job.path / "metrics.jsonl", job.check_own)
        labelled = bool(inputs.splits.labels)
        self.selection = Selection.of(job.config.training, job.path, labelled)

    def begin(self, tuning: Tuning, step: int) -> None:
        """Delete what a lost attempt wrote after ``step``."""
        self.log.begin(step)
        if step:
            job, of = tuning.job, f"{step} of {tuning.plan.total_steps}"
            print(f"{job.path.name}: attempt {job.attempt} goes on after step {of}")
        if self.selection is not None:
            self.selection.begin(step)

    def step(self, row: dict[str, Any]) -> None:
        """Log the step."""
        self.log.step(row)

    def evaluate(self, tuning: Tuning, step: int) -> dict[str, float]:
        """Measure the model on the few texts of the curves, log that, and keep the best step."""
        model = tuning.model
        with tuning.clock.spent_on("evaluation"):
            with computing(model):
                values = evaluate_during_training(
                    model,
                    tuning.inputs.watched,
                    self.before.watched,
                    tuning.job.config.evaluation,
                    tuning.bench.device,
                )
            self.log.flush()
            if self.selection is not None and step:  # the untouched model is not a result
                self.selection.offer(step, values, tuning.method, model, tuning.trained)
        self.log.evaluation(step, values, tuning.comparable(step))
        return values

    def flush(self) -> None:
        """Write the rows that wait."""
        self.log.flush()

    def select(self, tuning: Tuning) -> dict[str, Any] | None:
        """Restore the selected step into the model and describe it; None if it is simply the last."""
        if self.selection is None:
            return None
        self.evaluate(tuning, tuning.progress.step)
        self.selection.restore(tuning.method, tuning.model)
        return self.selection.describe()
