"""Scoring of a saved model in the same way as a trial, without training."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from harness.evaluation.collector import MeasurementCollector
from harness.models.loading.base_card import describe_base
from harness.records import Record, write_record
from harness.records.provenance import environment
from harness.training.loop import Progress
from harness.trials.by_hand.saved_adapter import Saved, check_weights, load_saved
from harness.trials.cost import Clock, final_sizes, sizes
from harness.trials.job import Job
from harness.trials.results.artifacts import write_items
from harness.trials.results.recording import device_name
from harness.trials.run import measure
from harness.trials.workbench import BaseResults, Inputs, Workbench, quantization_of


@dataclass(frozen=True)
class Scored:
    """The record, and warnings about the adapter."""

    record: Record
    doubts: list[str]


def run_score(job: Job, bench: Workbench, saved: Saved | None) -> Scored:
    """Measure ``saved`` on the base of ``job`` and write its folder, the record last.

    None: the untouched base. Raises InputError if the adapter does not fit.
    """
    config, evaluation, device = job.config, job.config.evaluation, bench.device
    clock = Clock(device)
    inputs = bench.inputs(config)
    with clock.spent_on("base"):
        before = bench.before(config, inputs, with_tasks=True, with_probes=True)
        quantized = None
        quantization = (saved and saved.quantization) or quantization_of(config.model)
    with bench.pool.lend(config.model, quantization) as base:
        if quantization != quantization_of(config.model):
            with clock.spent_on("base"):
                general_text = inputs.final.general_text
                quantized = bench.references.get(base, general_text, evaluation, device)
        clock.base_is_ready()
        model: Any = base.model
        if saved is not None:
            check_weights(saved, base)
            model = load_saved(saved, base, inputs.splits.labels)
        with clock.spent_on("evaluation"):
            measured = measure(job, model, inputs, before, quantized, device)
        size = _sizes(model, saved)
        provenance = dict(base.provenance)
        card = describe_base(config.model)
    doubts = [] if saved is None else saved.doubts(config.model)
    record = _record(job, inputs, before, measured, device)
    cost = clock.cost(Progress(), measured.generation_tokens_per_second) | size | measured.cost
    del cost["peak_memory_gb"]  # of training: there was none here
    del cost["train_seconds"]  # the cost of training was not measured here
    record = replace(
        record,
        cost=cost,
        provenance=record.provenance | {"model": provenance, "base_card": card, "warnings": doubts},
    )
    write_items(job.path, measured, before.final)
    write_record(job.path, record)
    return Scored(record, doubts)


def _sizes(model: Any, saved: Saved | None) -> dict[str, float]:
    total = {"total_parameters": sizes(model)["total_parameters"]}
    if saved is None:
        return total
    trained = set() if saved.is_adapter else {name for name, _ in model.named_parameters()}
    return total | final_sizes(model, trained)


def _record(
    job: Job, inputs: Inputs, before: BaseResults, measured: MeasurementCollector, device: str
) -> Record:
    splits = inputs.splits
    data = {"fingerprint": splits.fingerprint, **splits.counts, "tokens": inputs.train.counts}
    about_training = ("training", "retention")  # the training is unknown here
    config = {k: v for k, v in asdict(job.config).items() if k not in about_training}
    return job.record(
        "complete",
        config=config,
        measurements=measured.measurements,
        base=before.measurements(job.config.evaluation) | measured.base,
        missing=before.missing | measured.missing,
        provenance={
            **environment(),
            "device": device_name(device),
            "data": data,
            "answers": asdict(inputs.final.answers),
        },
    )
