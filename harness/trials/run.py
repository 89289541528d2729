"""One trial from its job to its record, in the order of execution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness import afterwards, methods
from harness.config import TrialConfig
from harness.errors import first_line, is_out_of_memory
from harness.evaluation import benchmarks
from harness.evaluation.base_reference import Reference
from harness.evaluation.collector import MeasurementCollector
from harness.evaluation.judge.judging import add_judged
from harness.evaluation.probes.asking import ask_tuned
from harness.evaluation.suite import evaluate
from harness.evaluation.texts import Texts
from harness.language import recorded
from harness.models.loading.skeleton import load_skeleton
from harness.models.weights.master_weights import computing
from harness.records import Outcome, Record, heartbeat, write_record
from harness.records.disk_usage import tidy
from harness.terminal.phases import phase
from harness.training.checkpoint import CheckpointFolder
from harness.training.hooks import Interrupted
from harness.trials.cost import Clock, final_sizes
from harness.trials.curve_watch import CurveWatch
from harness.trials.job import Job
from harness.trials.lengths import check_lengths
from harness.trials.results.artifacts import save_adapter, write_base_weights, write_items
from harness.trials.results.recording import TunedResults, record_of
from harness.trials.tuning import Control, Tuning
from harness.trials.workbench import BaseResults, Inputs, Workbench, quantization_of

if TYPE_CHECKING:
    from torch import nn

    from harness.models.load import Base
    from harness.models.quantization import Quantization

__all__ = ["Workbench", "measure", "run_trial"]


def run_trial(
    job: Job,
    bench: Workbench,
    decide: Callable[[int, dict[str, float]], bool] = lambda step, values: True,
    stopping: Callable[[], bool] = lambda: False,
) -> Record:
    """Run ``job`` and write its folder; the record is written last.

    After each evaluation ``decide(step, measurements)`` returns whether to continue. If
    ``stopping()`` returns true, a checkpoint is written and Interrupted raised; the same job
    resumes from it. Measurements that take longer than a second are then abandoned and repeated by
    the resumed job.
    Raises InputError for faults that only the loaded model or the data reveal.
    """
    evaluation = job.config.evaluation
    if job.keep_adapter and evaluation.quantization:
        skeleton = load_skeleton(job.config.model)
        afterwards.check_schemes(evaluation.quantization, skeleton, bench.device)
    checkpoints = CheckpointFolder(job.path / "checkpoint")
    try:
        with heartbeat.interruptible(stopping):
            record, kept = _tuned(job, bench, checkpoints, Control(decide, stopping))
            if (
                kept is not None
            ):  # not part of the method's cost; the trained model is released first
                record = replace(record, afterwards=_afterwards(kept, bench))
    except heartbeat.WorkStopped:
        raise Interrupted("stopped during the measurements before or after training") from None
    write_result(job, record)
    return record


def write_result(job: Job, record: Record) -> None:
    """Write the record of ``job``, and delete what a trial needs only until then."""
    job.check_own()
    write_record(job.path, record)
    tidy(job.path)


def _afterwards(kept: afterwards.Trained, bench: Workbench) -> dict[str, Outcome]:
    """Return the outcomes of the configured steps, and for a finalist its speed of generation."""
    outcomes = afterwards.outcomes_of(kept, bench.pool)
    if _has_speed(kept.config, kept.texts):
        stored = kept.method.base_quantization or quantization_of(kept.config.model)
        outcomes["speed"] = afterwards.speeds(kept, bench.pool, stored)
    return outcomes


def _has_speed(config: TrialConfig, texts: Texts) -> bool:
    return config.stage == "confirm" and bool(texts.prompts)


def _tuned(
    job: Job, bench: Workbench, checkpoints: CheckpointFolder, control: Control
) -> tuple[Record, afterwards.Trained | None]:
    """Tune, measure and save. Returns the record and, for later steps, the tuned model if any."""
    clock = Clock(bench.device)
    before = measure_base(job, bench, clock)
    with bench.pool.lend(job.config.model, quantization_for(job.config)) as base:
        trial = begin(job, bench, base, before, clock)
        trial.tuning.run(checkpoints, control)
        return trial.results()


def quantization_for(config: TrialConfig) -> Quantization | None:
    """Return how the base that a trial borrows is quantized."""
    return methods.build(config.method).base_quantization or quantization_of(config.model)


def measure_base(job: Job, bench: Workbench, clock: Clock) -> BaseResults:
    """Measure the base that the results of ``job`` are compared with; once for each base."""
    config, inputs = job.config, bench.inputs(job.config)
    check_lengths(config, inputs)
    with clock.spent_on("base"):
        confirms = config.stage == "confirm"
        before = bench.before(config, inputs, with_tasks=confirms, with_probes=job.is_final)
        stored = methods.build(config.method).base_quantization
        write_base_weights(job.path, bench.base_weights(config.model, stored))
    return before


@dataclass(frozen=True)
class BegunTrial:
    """A trial on a borrowed base."""

    tuning: Tuning
    watch: CurveWatch
    quantized: Reference | None  # results of the quantized base, if its method quantizes it

    def results(self) -> tuple[Record, afterwards.Trained | None]:
        """Measure the model after its training. Returns as ``_tuned`` does."""
        tuning, before = self.tuning, self.watch.before
        config = tuning.job.config
        found = TunedResults(MeasurementCollector(config.evaluation.bootstrap_resamples))
        if tuning.status == "complete":
            try:
                found = _found(tuning, self.watch, self.quantized)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                tuning.status = "infeasible"
                tuning.reason = recorded(
                    "out of memory in the final measurements: {error}", error=first_line(error)
                )
        tuning.job.check_own()
        write_items(tuning.job.path, found.measured, before.final)
        return record_of(tuning, before, found), found.kept


def begin(job: Job, bench: Workbench, base: Base, before: BaseResults, clock: Clock) -> BegunTrial:
    """Return the trial of ``job`` on ``base``, ready to be trained."""
    config, inputs, quantized = job.config, bench.inputs(job.config), None
    if quantization_for(config) != quantization_of(config.model):
        with clock.spent_on("base"):
            asked = (base, inputs.final.general_text, config.evaluation, bench.device)
            parts = {"quantized": lambda: bench.references.get(*asked)}
            quantized = bench.share(base, inputs, parts)["quantized"]
    clock.base_is_ready()
    watch = CurveWatch(job, inputs, before)
    return BegunTrial(Tuning(job, bench, inputs, base, clock, watch), watch, quantized)


def _found(tuning: Tuning, watch: CurveWatch, quantized: Reference | None) -> TunedResults:
    """Measure the tuned model, and save it if configured."""
    job, inputs, before, device = tuning.job, tuning.inputs, watch.before, tuning.bench.device
    selected = watch.select(tuning)
    model, method = tuning.model, tuning.method
    with tuning.clock.spent_on("evaluation"), computing(model):
        measured = measure(job, model, inputs, before, quantized, device)
    if selected is None or selected["step"] == tuning.progress.step:
        watch.log.evaluation(tuning.progress.step, measured.values(), final=True)
    tuning.size |= final_sizes(model, tuning.trained)
    found = TunedResults(measured, selected, method.describe(model))
    if job.keep_adapter:
        job.check_own()
        save_adapter(
            job.path / "adapter",
            method,
            model,
            inputs.tokenizer,
            labels=inputs.splits.labels,
            data=job.config.data,
        )
        if afterwards.wanted(job.config.evaluation) or _has_speed(job.config, inputs.final):
            with computing(model):
                logits = afterwards.some_logits(model, inputs.final, device)
            found.kept = afterwards.Trained(
                folder=job.path,
                adapter=job.path / "adapter",
                config=job.config,
                method=method,
                plan=tuning.plan,
                texts=inputs.final,
                reference=before.final,
                logits=logits,
            )
    return found


@phase("measuring the model")
def measure(
    job: Job,
    model: nn.Module,
    inputs: Inputs,
    before: BaseResults,
    quantized: Reference | None,
    device: str,
) -> MeasurementCollector:
    """Measure a tuned model: quality and forgetting; for finalists also tasks and probes."""
    evaluation = job.config.evaluation
    measured = evaluate(
        model, inputs.tokenizer, inputs.final, before.final, evaluation, device, quantized
    )
    if job.is_final or evaluation.judge.during_search:
        add_judged(measured, before.final.outputs, evaluation, Path(job.cache) / "judge")
    if before.tasks is not None:
        results = benchmarks.run_tasks(model, inputs.tokenizer, evaluation, device)
        benchmarks.add(measured, results, before.tasks, evaluation)
    ask_tuned(measured, model, inputs.tokenizer, before.probes, device)
    return measured
