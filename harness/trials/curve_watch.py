"""Curves of a trial: evaluation and logging during training, and selection of the best step."""

from __future__ import annotations

from typing import Any

from harness.evaluation.suite import evaluate_before_training, evaluate_during_training
from harness.models.weights.master_weights import computing
from harness.trials.best_step import Selection
from harness.trials.job import Job
from harness.trials.results.artifacts import EventLog
from harness.trials.tuning import Tuning, Watch
from harness.trials.workbench import BaseResults, Inputs


class CurveWatch(Watch):
    """Writes ``metrics.jsonl``, and keeps the weights of the selected step."""

    def __init__(self, job: Job, inputs: Inputs, before: BaseResults) -> None:
        self.before = before
        self.log = EventLog(job.path / "metrics.jsonl", job.check_own)
        labelled = bool(inputs.splits.labels)
        self.selection = Selection.of(job.config.training, job.path, labelled)

    def begin(self, tuning: Tuning, step: int) -> None:
        """Resume after ``step``: delete what an earlier attempt wrote later."""
        self.log.begin(step)
        if step:
            job, of = tuning.job, f"{step} of {tuning.plan.total_steps}"
            print(f"{job.path.name}: attempt {job.attempt} resumes after step {of}")
        if self.selection is not None:
            self.selection.begin(step)

    def step(self, row: dict[str, Any]) -> None:
        """Log the step."""
        self.log.step(row)

    def evaluate(self, tuning: Tuning, step: int) -> dict[str, float]:
        """Evaluate on a sample of texts, log the result, and keep the weights if they are the best."""
        model = tuning.model
        method = tuning.method
        untrained = step == 0 and method.starts_at_base and method.base_quantization is None
        measure = evaluate_before_training if untrained else evaluate_during_training
        with tuning.clock.spent_on("evaluation"):
            with computing(model):
                values = measure(
                    model,
                    tuning.inputs.watched,
                    self.before.watched,
                    tuning.job.config.evaluation,
                    tuning.bench.device,
                )
            self.log.flush()
            if self.selection is not None and step:  # the untrained model is not a result
                self.selection.offer(step, values, tuning.method, model, tuning.trained)
        self.log.evaluation(step, values, tuning.comparable(step))
        return values

    def flush(self) -> None:
        """Write the buffered rows."""
        self.log.flush()

    def select(self, tuning: Tuning) -> dict[str, Any] | None:
        """Load the selected step into the model and describe it; None for the last step."""
        if self.selection is None:
            return None
        self.evaluate(tuning, tuning.progress.step)
        self.selection.restore(tuning.method, tuning.model)
        return self.selection.describe()
