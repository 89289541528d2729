"""One trial, in the order things happen: from a job to its record."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness import methods
from harness.config import DataConfig, ModelConfig
from harness.data.batches import BatchPlan
from harness.data.cache import cached_encode
from harness.data.examples import Splits, read_splits
from harness.errors import InputError
from harness.evaluation import benchmarks
from harness.evaluation.forgetting import forgetting
from harness.evaluation.measured import Measured
from harness.evaluation.reference import Reference, ReferenceStore
from harness.evaluation.suite import evaluate, quick
from harness.evaluation.texts import Texts, prepare, watch
from harness.methods import AdaptPlan
from harness.methods.base import Quantization
from harness.models.pool import ModelPool
from harness.records import Record, write_record
from harness.records.provenance import environment
from harness.training.checkpoint import CheckpointFolder
from harness.training.loop import Diverged, Hooks, OutOfMemory, Progress, train
from harness.trials.artifacts import EventLog, save_adapter, write_items
from harness.trials.cost import Clock, Infeasible, check_limits, check_size, final_sizes, sizes
from harness.trials.job import Job


class Workbench:
    """What stays warm between the trials of one process: bases, references, splits."""

    def __init__(self, device: str, cache: Path) -> None:
        self.device = device
        self.cache = cache
        self.pool = ModelPool(device)
        self.references = ReferenceStore(cache / "base")
        self._splits: tuple[str, Splits] | None = None

    def splits(self, config: DataConfig) -> Splits:
        key = json.dumps(asdict(config), sort_keys=True, default=str)
        if self._splits is None or self._splits[0] != key:
            self._splits = (key, read_splits(config))
        return self._splits[1]


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
    import torch

    config, evaluation, device = job.config, job.config.evaluation, bench.device
    clock = Clock(device)
    method = methods.build(config.method)
    log = EventLog(job.path / "metrics.jsonl")
    checkpoints = CheckpointFolder(job.path / "checkpoint")

    own = quantization_of(config.model)
    if method.trains_base_weights and own is not None:
        raise InputError(
            f"method={config.method['name']} trains the base's own weights, which "
            f"model.quantization={own.kind} does not allow: use none, or method=qlora."
        )
    splits = bench.splits(config.data)
    tokenizer = bench.pool.tokenizer(config.model)
    split = "test" if config.stage == "confirm" else "validation"
    final = prepare(splits, tokenizer, config.data, evaluation, split)
    watched = watch(splits, tokenizer, config.data, evaluation.watched_examples)
    tokens = bench.cache / "tokens"
    data = cached_encode(tokens, splits.train, tokenizer, config.data, all_references=True)
    with clock.spent_on("base"):
        references, base_tasks = _base(job, bench, own, watched, final)

    quantization = method.base_quantization or own
    with bench.pool.lend(config.model, quantization) as base:
        quantized = None
        if quantization != own:
            with clock.spent_on("base"):
                quantized = bench.references.get(base, final, evaluation, device)
        plan = _plan(job, len(data), tokenizer)
        torch.manual_seed(config.seed)  # before adapters are made: their start belongs to the run
        model = method.adapt(base.model, plan)
        size = sizes(model)
        trained = {name for name, p in model.named_parameters() if p.requires_grad}
        progress = Progress()

        def on_step(row: dict[str, Any]) -> None:
            clock.train_seconds = row["seconds"]
            log.step(row)

        def on_evaluation(step: int) -> bool:
            with clock.spent_on("evaluation"):
                values = quick(model, watched, references[0], evaluation, device)
            log.evaluation(step, values)
            check_limits(job.limits, clock)
            return decide(step, values)

        measured = Measured(evaluation.bootstrap_resamples)
        status, reason = "complete", None
        try:
            check_size(job.limits, size)
            progress = train(
                model,
                method,
                plan,
                data,
                config.training,
                config.seed,
                _accelerator(config.training.precision, device),
                checkpoints,
                Hooks(log.begin, on_step, on_evaluation, log.flush, stopping),
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
        if status == "complete":
            with clock.spent_on("evaluation"):
                measured = evaluate(model, tokenizer, final, references[1], evaluation, device)
                if quantized is not None:
                    about = (measured, "forgetting_from_quantized", model, final, quantized)
                    forgetting(*about, evaluation, device)
                if base_tasks is not None:
                    results = benchmarks.run_tasks(model, tokenizer, evaluation, device)
                    benchmarks.add(measured, results, base_tasks, evaluation)
            log.evaluation(progress.step, measured.values())
            size |= final_sizes(model, trained)
            if job.keep_adapter:
                save_adapter(job.path / "adapter", model, tokenizer)
    write_items(job.path, measured, references[1])

    record = Record(
        status=status,
        stage=config.stage,
        method=config.method["name"],
        trial=job.trial,
        attempt=job.attempt,
        fingerprint=job.fingerprint,
        configuration=job.configuration,
        seed=config.seed,
        config=asdict(config),
        overrides=list(job.overrides),
        measurements=measured.measurements,
        base=references[1].measurements,
        cost=clock.cost(progress, measured.generation_tokens_per_second) | size,
        provenance={
            **environment(),
            "device": device_name(device),
            "model": base.provenance,
            "data": {"fingerprint": splits.fingerprint, **splits.counts, "tokens": data.counts},
            "steps": progress.step,
            "total_steps": plan.total_steps,
            "search_space": dict(job.searched),
            "warnings": progress.warnings,
        },
        reason=reason,
    )
    write_record(job.path, record)
    checkpoints.clear()
    return record


def quantization_of(model: ModelConfig) -> Quantization | None:
    """How the user's own base is stored."""
    if model.quantization == "none":
        return None
    return Quantization(model.quantization, model.double_quantization)


def _base(
    job: Job, bench: Workbench, own: Quantization | None, watched: Texts, final: Texts
) -> tuple[list[Reference], benchmarks.Results | None]:
    """The untouched base on the watched and the final texts, and for finalists on the tasks.

    It is the base that the user has, at ``model.quantization``: QLoRA is measured against the same
    base as LoRA, so that what quantization costs is a part of what it costs.
    """
    evaluation, device = job.config.evaluation, bench.device
    with_tasks = job.config.stage == "confirm" and benchmarks.wanted(evaluation)
    found = [
        bench.references.find(job.config.model, own, texts, evaluation)
        for texts in (watched, final)
    ]
    known = [reference for reference in found if reference is not None]
    if len(known) == 2 and not with_tasks:
        return known, None
    with bench.pool.lend(job.config.model, own) as base:
        known = [bench.references.get(base, text, evaluation, device) for text in (watched, final)]
        if not with_tasks:
            return known, None
        folder = bench.cache / "tasks"
        return known, benchmarks.base_results(folder, base, evaluation, device)


def _plan(job: Job, n_sequences: int, tokenizer: Any) -> AdaptPlan:
    training = job.config.training
    effective = training.batch_size * training.gradient_accumulation_steps
    per_epoch = BatchPlan(n_sequences, effective, job.config.seed).steps_per_epoch
    steps = training.max_steps
    if steps is None:
        assert training.epochs is not None
        steps = max(1, round(training.epochs * per_epoch))
    return AdaptPlan(steps, per_epoch, tokenizer)


def _accelerator(precision: str, device: str) -> Any:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    if precision == "fp16" and device == "cpu":
        raise InputError("training.precision='fp16' needs a GPU; on a CPU use bf16 or no.")
    AcceleratorState._reset_state()  # a warm worker's next trial may want another precision
    return Accelerator(mixed_precision=precision, cpu=device == "cpu")


def device_name(device: str) -> str:
    if not device.startswith("cuda"):
        return device
    import torch

    return torch.cuda.get_device_name(device)
