"""One trial from its job to its record, in the order of execution."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import afterwards, methods
from harness.config import TrialConfig
from harness.data.tokens.written_form import how_written
from harness.errors import first_line, is_out_of_memory
from harness.evaluation import benchmarks
from harness.evaluation.base_reference import Reference
from harness.evaluation.collector import MeasurementCollector
from harness.evaluation.judge.judging import add_judged
from harness.evaluation.probes.asking import ask_tuned
from harness.evaluation.suite import evaluate
from harness.evaluation.texts import Texts
from harness.language import recorded
from harness.models.loading.base_card import describe_base
from harness.models.loading.skeleton import load_skeleton
from harness.models.weights.master_weights import computing
from harness.records import Outcome, Record, heartbeat, write_record
from harness.records.disk_usage import tidy
from harness.records.provenance import environment
from harness.terminal.phases import phase
from harness.training.augmentation import described
from harness.training.checkpoint import CheckpointFolder
from harness.training.hooks import Interrupted
from harness.trials.artifacts import save_adapter, write_base_weights, write_items
from harness.trials.cost import Clock, final_sizes
from harness.trials.curve_watch import CurveWatch
from harness.trials.job import Job
from harness.trials.lengths import check_lengths
from harness.trials.tuning import Control, Tuning
from harness.trials.workbench import BaseResults, Inputs, Workbench, quantization_of

if TYPE_CHECKING:
    from torch import nn

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
    job.check_own()
    write_record(job.path, record)
    tidy(job.path)
    return record


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
    config, clock = job.config, Clock(bench.device)
    own, stored = quantization_of(config.model), methods.build(config.method).base_quantization
    inputs = bench.inputs(config)
    check_lengths(config, inputs)
    with clock.spent_on("base"):
        confirms = config.stage == "confirm"
        before = bench.before(config, inputs, with_tasks=confirms, with_probes=job.is_final)
        write_base_weights(job.path, bench.base_weights(config.model, stored))
    with bench.pool.lend(config.model, stored or own) as base:
        quantized = None
        if stored not in (None, own):
            with clock.spent_on("base"):
                asked = (base, inputs.final.general_text, config.evaluation, bench.device)
                parts = {"quantized": lambda: bench.references.get(*asked)}
                quantized = bench.share(base, inputs, parts)["quantized"]
        clock.base_is_ready()
        watch = CurveWatch(job, inputs, before)
        tuning = Tuning(job, bench, inputs, base, clock, watch)
        tuning.run(checkpoints, control)
        found = TunedResults(MeasurementCollector(config.evaluation.bootstrap_resamples))
        if tuning.status == "complete":
            try:
                found = _found(tuning, watch, quantized)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                tuning.status = "infeasible"
                tuning.reason = recorded(
                    "out of memory in the final measurements: {error}", error=first_line(error)
                )
        job.check_own()
        write_items(job.path, found.measured, before.final)
        return _record(tuning, before, found), found.kept


@dataclass
class TunedResults:
    """Results of a tuned model; empty if training did not reach the end."""

    measured: MeasurementCollector
    selected: dict[str, Any] | None = None  # the selected step, if not the last
    described: Mapping[str, Any] = field(
        default_factory=dict
    )  # reported by the method about its parameters
    kept: afterwards.Trained | None = None


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


def _record(tuning: Tuning, before: BaseResults, found: TunedResults) -> Record:
    job, config, measured = tuning.job, tuning.job.config, found.measured
    cost = tuning.clock.cost(tuning.progress, measured.generation_tokens_per_second)
    return job.record(
        tuning.status,
        measurements=measured.measurements,
        base=before.measurements(config.evaluation) | measured.base,
        missing=before.missing | measured.missing,
        cost=cost | tuning.size | measured.cost,
        provenance=_provenance(tuning, found),
        reason=tuning.reason,
    )


def _provenance(tuning: Tuning, found: TunedResults) -> dict[str, Any]:
    job, inputs, progress = tuning.job, tuning.inputs, tuning.progress
    config, splits = job.config, inputs.splits
    tokens = inputs.train.counts | tuning.criterion.count_cut_tokens(progress.step)
    selected = {} if found.selected is None else {"selected": found.selected}
    pruned = {} if tuning.standing is None else {"pruned": tuning.standing}
    return {
        **environment(),
        "device": device_name(tuning.bench.device),
        "model": tuning.base.provenance,
        "base_card": describe_base(config.model),
        "data": {"fingerprint": splits.fingerprint, **splits.counts, "tokens": tokens},
        "written": how_written(inputs.tokenizer, config.data),
        "answers": asdict(inputs.final.answers),
        "overlap": tuning.bench.overlap(config.data),
        "precision": _precision(tuning),
        "steps": progress.step,
        "micro_batch_size": progress.micro_batch_size,
        "threads": threads(tuning.bench.device),
        "devices_per_trial": tuning.bench.team.size,
        "sharding": "fsdp" if tuning.bench.team.shards else "none",
        "total_steps": tuning.plan.total_steps,
        "first_stage_steps": tuning.earlier.steps,
        "search_space": dict(job.searched),
        "derived": methods.derived(config.method, tuning.method),
        "method": found.described,
        "adapted": None if tuning.coverage is None else tuning.coverage.describe(),
        "warnings": [*tuning.cautions, *progress.warnings],
        **described(config.training, inputs.tokenizer),
        **selected,
        **pruned,
    }


def _precision(tuning: Tuning) -> dict[str, Any]:
    """Return the precisions of computation, of trained weights and of measurements."""
    training, named = tuning.job.config.training, dict(tuning.model.named_parameters())
    trained = {str(named[name].dtype) for name in tuning.trained if name in named}
    return {
        "passes": {"no": "as stored", "bf16": "bfloat16", "fp16": "float16"}[training.precision],
        "updates": training.updates,
        "trained": sorted(dtype.removeprefix("torch.") for dtype in trained),
        "measured": tuning.base.provenance["dtype"],
    }


def threads(device: str) -> int | None:
    """Return the number of threads on a CPU, where it affects the rounding of sums."""
    if device.startswith("cuda"):
        return None
    import torch

    return torch.get_num_threads()


def device_name(device: str) -> str:
    if not device.startswith("cuda"):
        return device
    import torch

    return torch.cuda.get_device_name(device)
