"""Record of a trial: measurements, cost, and provenance of its model, data and machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from harness import afterwards, methods
from harness.data.tokens.written_form import how_written
from harness.evaluation.collector import MeasurementCollector
from harness.models.loading.base_card import describe_base
from harness.records import Record
from harness.records.provenance import environment
from harness.training.augmentation import described
from harness.trials.tuning import Tuning
from harness.trials.workbench import BaseResults

SHARE = "of the steps that they took together, an equal share"


@dataclass
class TunedResults:
    """Results of a tuned model; empty if training did not reach the end."""

    measured: MeasurementCollector
    selected: dict[str, Any] | None = None  # the selected step, if not the last
    described: Mapping[str, Any] = field(
        default_factory=dict
    )  # reported by the method about its parameters
    kept: afterwards.Trained | None = None


def record_of(tuning: Tuning, before: BaseResults, found: TunedResults) -> Record:
    """Build the record of a trial whose training has ended."""
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
    n = progress.trials_in_pack
    pack = {} if n == 1 else {"pack": {"trials": n, "seconds": SHARE}}
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
        **pack,
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
