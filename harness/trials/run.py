"""One trial, in the order things happen: from a job to its record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import afterwards, methods
from harness.errors import InputError
from harness.evaluation import benchmarks
from harness.evaluation.forgetting import forgetting
from harness.evaluation.judge import add_judged
from harness.evaluation.measured import Measured
from harness.evaluation.probes import answers
from harness.evaluation.reference import Reference
from harness.evaluation.suite import evaluate, quick
from harness.methods import AdaptPlan
from harness.methods.base import FirstStage
from harness.models.load import Base, load_skeleton
from harness.models.packing import check_texts_apart
from harness.records import Record, write_record
from harness.records.provenance import environment
from harness.training.augmentation import described
from harness.training.checkpoint import CheckpointFolder
from harness.training.criterion import Criterion
from harness.training.loop import Diverged, Hooks, OutOfMemory, Progress, train
from harness.trials.adapt import Earlier, adapt, train_first_stage
from harness.trials.artifacts import EventLog, save_adapter, write_base_weights, write_items
from harness.trials.cost import Clock, Infeasible, check_limits, check_size, final_sizes, sizes
from harness.trials.job import Job
from harness.trials.knowledge import ask_base, ask_tuned
from harness.trials.selection import Selection
from harness.trials.workbench import Before, Inputs, Workbench, quantization_of

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

    ``decide(step, measurements)`` says after each evaluation whether to go on. Where ``stopping()``
    is true a checkpoint is written and Interrupted raised: the same job goes on from there later.
    Raises InputError for what only the loaded model or the data can tell.
    """
    evaluation = job.config.evaluation
    if job.keep_adapter and evaluation.quantization:
        skeleton = load_skeleton(job.config.model)
        afterwards.check_schemes(evaluation.quantization, skeleton, bench.device)
    checkpoints = CheckpointFolder(job.path / "checkpoint")
    record, kept = _tuned(job, bench, checkpoints, decide, stopping)
    if kept is not None:  # no cost of the method's; the model it trained is given back by now
        record = replace(record, afterwards=afterwards.outcomes_of(kept, bench.pool))
    write_record(job.path, record)
    checkpoints.clear()
    Selection.clear(job.path)
    return record


def _tuned(
    job: Job,
    bench: Workbench,
    checkpoints: CheckpointFolder,
    decide: Callable[[int, dict[str, float]], bool],
    stopping: Callable[[], bool],
) -> tuple[Record, afterwards.Trained | None]:
    """Tune, measure and save; and what is needed to look at the tuned model again, if anything is."""
    import torch

    config, evaluation, device = job.config, job.config.evaluation, bench.device
    clock = Clock(device)
    log = EventLog(job.path / "metrics.jsonl")
    method = methods.build(config.method)
    inputs = bench.inputs(config)
    with clock.spent_on("base"):
        before = bench.before(config, inputs)
        told = ask_base(job, bench)
        write_base_weights(job.path, bench.base_weights(config.model, method.base_quantization))

    quantization = method.base_quantization or quantization_of(config.model)
    with bench.pool.lend(config.model, quantization) as base:
        quantized = None
        if quantization != quantization_of(config.model):
            with clock.spent_on("base"):
                quantized = bench.references.get(base, inputs.final, evaluation, device)
        clock.base_is_ready()
        method = methods.fitted(config.method, base.model)
        about = (inputs.train, config.training, config.seed, config.retention, inputs.replay)
        criterion = Criterion(*about, padding_quantile=config.data.padding_quantile)
        plan = _plan(job, inputs, criterion.steps_per_epoch, device)
        with clock.spent_on("base"):
            keep = {"top_k": evaluation.top_k_logprobs, "memory_gb": evaluation.cache_gb}
            about = (base.model, plan.total_steps, evaluation.batch_size, device)
            criterion.remember(*about, **keep)
        accelerator = _accelerator(config.training.precision, device)
        model, earlier, size, trained = base.model, Earlier(), {}, set()

        def on_early_step(row: dict[str, Any]) -> None:
            clock.train_seconds = row["seconds"]
            check_limits(job.limits, clock)

        def first_stage(stage: FirstStage) -> Earlier:
            about = (stage, job, base, inputs, plan, accelerator, bench.cache / "first_stage")
            return train_first_stage(*about, on_early_step, stopping)

        def on_step(row: dict[str, Any]) -> None:
            clock.train_seconds = earlier.seconds + row["seconds"]
            log.step(row)

        selection = Selection.of(config.training, job.path, bool(inputs.splits.labels))

        def on_begin(step: int) -> None:
            log.begin(step)
            if selection is not None:
                selection.begin(step)

        def evaluated(step: int) -> dict[str, float]:
            with clock.spent_on("evaluation"):
                values = quick(model, inputs.watched, before.watched, evaluation, device)
                if selection is not None and step:  # the untouched model is no outcome
                    selection.offer(step, values, method, model, trained)
            log.evaluation(step, values)
            return values

        def on_evaluation(step: int) -> bool:
            values = evaluated(step)
            check_limits(job.limits, clock)
            return step == 0 or decide(step, values)

        hooks = Hooks(on_begin, on_step, on_evaluation, log.flush, stopping)
        progress, status, reason = Progress(), "complete", None
        try:
            model, earlier = adapt(job, method, base, inputs, plan, first_stage)
            if inputs.train.segments is not None:
                check_texts_apart(model, config.data.max_length, device)
            size = sizes(model)
            trained = {name for name, p in model.named_parameters() if p.requires_grad}
            check_size(job.limits, size)
            progress = train(
                *(model, method, plan, inputs.train, config.training, config.seed),
                *(accelerator, checkpoints, hooks, criterion),
            )
            check_limits(job.limits, clock)
            if progress.pruned:
                status, reason = "pruned", f"stopped at step {progress.step} of {plan.total_steps}"
        except Diverged as error:
            status, reason = "diverged", str(error)
        except (Infeasible, OutOfMemory) as error:
            status, reason = "infeasible", str(error)
        except torch.OutOfMemoryError as error:  # the optimizer's state, or an evaluation during it
            status, reason = "infeasible", f"out of memory: {str(error).splitlines()[0]}"
        log.flush()

        measured, kept = Measured(evaluation.bootstrap_resamples), None
        seen: dict[str, Any] = {}
        selected: dict[str, Any] | None = None
        if status == "complete":
            if selection is not None:
                evaluated(progress.step)
                selection.restore(method, model)
                selected = selection.describe()
            with clock.spent_on("evaluation"):
                measured = measure(job, model, inputs, before, quantized, device)
                if told is not None:
                    ask_tuned(job, model, inputs.tokenizer, told, measured, device)
            if selected is None or selected["step"] == progress.step:
                log.evaluation(progress.step, measured.values())
            size |= final_sizes(model, trained)
            seen = method.describe(model)
            if job.keep_adapter:
                save_adapter(
                    job.path / "adapter", method, model, inputs.tokenizer, inputs.splits.labels
                )
                if afterwards.wanted(evaluation):
                    logits = afterwards.some_logits(model, inputs.final, device)
                    about = (plan, inputs.final, before.final, logits)
                    kept = afterwards.Trained(job.path, config, method, *about)

    write_items(job.path, measured, before.final)
    record = Record(
        status=status,
        stage=config.stage,
        method=job.method,
        trial=job.trial,
        attempt=job.attempt,
        fingerprint=job.fingerprint,
        configuration=job.configuration,
        seed=config.seed,
        config=asdict(config),
        overrides=list(job.overrides),
        measurements=measured.measurements,
        base=before.measurements(evaluation)
        | measured.base
        | (told.measurements if told is not None else {}),
        missing=measured.missing,
        cost=clock.cost(progress, measured.generation_tokens_per_second) | size | measured.cost,
        provenance=_provenance(job, base, inputs, plan, earlier, progress, criterion, device)
        | described(config.training, inputs.tokenizer)
        | {"overlap": bench.overlap(config.data)}
        | {"derived": methods.derived(config.method, method), "method": seen}
        | ({} if selected is None else {"selected": selected}),
        reason=reason,
    )
    return record, kept


def _plan(job: Job, inputs: Inputs, per_epoch: int, device: str) -> AdaptPlan:
    training = job.config.training
    steps = training.max_steps
    if steps is None:
        assert training.epochs is not None
        steps = max(1, round(training.epochs * per_epoch))
    return AdaptPlan(steps, per_epoch, inputs.tokenizer, inputs.train, job.config.seed, device)


def _accelerator(precision: str, device: str) -> Any:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    if precision == "fp16" and device == "cpu":
        raise InputError("training.precision='fp16' needs a GPU; on a CPU use bf16 or no.")
    AcceleratorState._reset_state()  # a warm worker's next trial may want another precision
    return Accelerator(mixed_precision=precision, cpu=device == "cpu")


def measure(
    job: Job,
    model: nn.Module,
    inputs: Inputs,
    before: Before,
    quantized: Reference | None,
    device: str,
) -> Measured:
    """Everything at the end of a run: quality, forgetting, and for finalists the tasks."""
    evaluation = job.config.evaluation
    measured = evaluate(model, inputs.tokenizer, inputs.final, before.final, evaluation, device)
    if quantized is not None:  # what quantization cost is told apart from what training cost
        about = (measured, "forgetting_from_quantized", model, inputs.final, quantized)
        forgetting(*about, evaluation, device)
    by_hand_or_finalist = job.keep_adapter or job.config.stage == "confirm"
    if by_hand_or_finalist or evaluation.judge.during_search:
        add_judged(measured, before.final.outputs, evaluation, Path(job.cache) / "judge")
    if before.tasks is not None:
        results = benchmarks.run_tasks(model, inputs.tokenizer, evaluation, device)
        benchmarks.add(measured, results, before.tasks, evaluation)
    for probe, said in before.asked:
        probe.score(measured, answers(probe, model, inputs.tokenizer, evaluation, device), said)
    return measured


def _provenance(
    job: Job,
    base: Base,
    inputs: Inputs,
    plan: AdaptPlan,
    earlier: Earlier,
    progress: Progress,
    criterion: Criterion,
    device: str,
) -> dict[str, Any]:
    splits = inputs.splits
    tokens = inputs.train.counts | criterion.cut(progress.step)
    return {
        **environment(),
        "device": device_name(device),
        "model": base.provenance,
        "data": {"fingerprint": splits.fingerprint, **splits.counts, "tokens": tokens},
        "steps": progress.step,
        "total_steps": plan.total_steps,
        "first_stage_steps": earlier.steps,
        "search_space": dict(job.searched),
        "warnings": progress.warnings,
    }


def device_name(device: str) -> str:
    if not device.startswith("cuda"):
        return device
    import torch

    return torch.cuda.get_device_name(device)
