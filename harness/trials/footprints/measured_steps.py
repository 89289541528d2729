"""Memory by purpose, and time, of a configuration, measured on four real steps."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import methods
from harness.config import TrialConfig
from harness.config.strict import from_mapping
from harness.data.tokens.batches import BatchPlan, micro_batches, step_cost
from harness.data.tokens.encode import Encoded
from harness.errors import first_line, is_out_of_memory
from harness.models.end_to_end import fits_one_row
from harness.models.pass_cost import forward_tokens
from harness.models.weights.master_weights import computing, copies_bytes
from harness.models.weights.stored_bytes import stored_bytes
from harness.records import read_json, write_json
from harness.records.fingerprint import digest
from harness.records.footprint import Footprint
from harness.terminal.phases import phase
from harness.training.checkpoint import CheckpointFolder
from harness.training.device_memory import available_gb, peak_gb, reset_peak, resident_gb
from harness.training.distributed.team import ALONE
from harness.trials.cost import Clock
from harness.trials.footprints.evaluation_seconds import answering_seconds, scoring
from harness.trials.footprints.step_meter import COUNTED, TIMED, Enough, StepMeter
from harness.trials.job import Job
from harness.trials.results.recording import device_name
from harness.trials.tuning import GO_ON, Tuning, Watch
from harness.trials.workbench import Inputs, Workbench, quantization_of

if TYPE_CHECKING:
    from torch import nn

FORMAT = 9  # increase it when the measurement changes
SAMPLED_STEPS = 64  # of an epoch, for the cost of a mean step
# In 16 bits a CPU compiles each product for each shape (oneDNN), and no two passes have the same. With
# two layers and 2.8 passes a step took 0.17 s where the measured one, scaled, says 0.12.
COMPILE_SECONDS = 0.02


def footprints(spec: Mapping[str, Any], folder: Path, bench: Workbench) -> list[dict[str, Any]]:
    """Return the footprint of each of ``spec["configs"]``; measured once per cache and kind of device.

    Peaks are those of this process; ``harness.records.footprint.beside_each_other`` compares several.

    ``spec["devices"]`` devices train one together; this one has its share. That not even one
    sequence at a time fits is no error: ``infeasible`` says so. Raises InputError.
    """
    found = []
    room = available_gb(bench.device)  # on a CPU: before workers beside this one load their bases
    for data in spec["configs"]:
        config: TrialConfig = from_mapping(TrialConfig, data)
        content = bench.splits(config.data).fingerprint
        key = [FORMAT, asdict(config), spec["devices"], device_name(bench.device), content]
        kept = bench.cache / "footprints" / f"{digest(key, 24)}.json"
        known = read_json(kept)
        if not isinstance(known, dict):
            with phase(f"measuring a few steps of {config.method['name']}"):
                measured = _measure(config, spec["devices"], folder, bench)
                idle = max(0.0, resident_gb(bench.device) - bench.pool.device_gb)
                known = asdict(replace(measured, idle_gb=idle))
            if known["micro_batch_size"] == config.training.batch_size:
                write_json(kept, known)  # otherwise others may have held memory that is free later
        if bench.device.startswith("cuda"):  # its libraries have taken some meanwhile
            room = available_gb(bench.device)
        found.append(known | {"available_gb": room})
    return found


def _measure(config: TrialConfig, devices: int, folder: Path, bench: Workbench) -> Footprint:
    bench = copy.copy(bench)
    bench.team = ALONE
    device, own = bench.device, quantization_of(config.model)
    inputs, stored = bench.inputs(config), methods.build(config.method).base_quantization
    with bench.pool.lend(config.model, stored or own) as base:

        def run_of(config: TrialConfig, inputs: Inputs, watch: Watch) -> Tuning:
            job = Job(str(folder), str(bench.cache), config.method["name"], config)
            return Tuning(job, bench, inputs, base, Clock(device), watch, dry=True)

        steps = run_of(config, inputs, Watch()).plan.total_steps
        few = replace(inputs, train=_longest(inputs.train, config, devices))
        meter = StepMeter(device)
        tuning = run_of(_as_long(config, steps), few, meter)
        heaviest = tuning.method.heaviest_step(tuning.plan)
        tuning.progress.step = max(0, heaviest - COUNTED - TIMED + 1)
        try:
            tuning.run(CheckpointFolder(folder / "checkpoint"), GO_ON)
        except Enough:
            pass
        finally:
            meter.close()
        room = available_gb(device)
        found = Footprint(device_name(device), room, steps, max([*meter.peaks, 0.0]))
        trained = tuning.size.get("trainable_parameters")
        found = replace(found, trainable_parameters=None if trained is None else int(trained))
        reset_peak(device)
        if tuning.status == "diverged":
            return found  # unrelated to memory: the trial itself will report it
        if not meter.seconds:
            return replace(found, infeasible=tuning.reason or tuning.status)
        reference_gb = 0.0
        evaluations = steps // (config.training.eval_every or max(1, steps // 4))
        try:
            found = replace(found, **_memory(tuning, meter))
            with computing(tuning.model):
                scored = scoring(tuning, inputs, evaluations)
                reference_gb = scored.reference_bytes / 1e9
                found = replace(
                    found,
                    step_seconds=_step_seconds(
                        meter.seconds,
                        inputs.train,
                        few.train,
                        tuning.progress.micro_batch_size,
                        tuning.model,
                        compiles=device == "cpu" and config.training.precision != "no",
                    ),
                    scoring_seconds=scored.seconds,
                    answering_seconds=answering_seconds(tuning, inputs),
                )
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            why = f"out of memory while answering: {first_line(error)}"
            found = replace(found, infeasible=why)
        found = replace(found, evaluation_peak_gb=peak_gb(device))
    if device.startswith("cuda"):  # the log-probabilities of the base are in the host's memory
        return found
    return replace(
        found,
        peak_gb=found.peak_gb + reference_gb,
        evaluation_peak_gb=found.evaluation_peak_gb + reference_gb,
    )


def _as_long(config: TrialConfig, steps: int) -> TrialConfig:
    """Return the same run with a number of steps, without evaluations and checkpoints.

    A run shorter than the measured steps is extended: its steps need as much memory.
    """
    own = replace(
        config.training,
        max_steps=max(steps, COUNTED + TIMED),
        epochs=None,
        eval_every=None,
        evaluate_before_training=False,
        checkpoint_every=None,
    )
    return replace(config, training=own)


def _longest(train: Encoded, config: TrialConfig, devices: int) -> Encoded:
    """Return one device's share of the longest possible step."""
    training = config.training
    batch = training.batch_size * training.gradient_accumulation_steps
    return train.take(np.argsort(-train.lengths, kind="stable")[: -(-batch // devices)].tolist())


def _memory(tuning: Tuning, meter: StepMeter) -> dict[str, Any]:
    (state, first_peak), (_, second_peak) = meter.laps
    trained = [p for p in tuning.model.parameters() if p.requires_grad]
    gradients = sum(p.numel() * p.element_size() for p in trained)
    copies = copies_bytes(tuning.model)  # beside weights at rest, in every pass
    beyond_weights = max(first_peak, state + second_peak)
    return {
        "weights_gb": (stored_bytes(tuning.model) + copies) / 1e9,
        "gradients_gb": gradients / 1e9,
        "optimizer_gb": state / 1e9,
        "activations_gb": max(0, beyond_weights - state - gradients - copies) / 1e9,
        "micro_batch_size": tuning.progress.micro_batch_size,
        "watts": meter.watts,
    }


def _step_seconds(
    seconds: float,
    train: Encoded,
    measured: Encoded,
    micro_batch_size: int,
    model: nn.Module,
    compiles: bool,
) -> float:
    """Return the mean seconds of a step of ``train``, from those of a step with all of ``measured``.

    Steps compare by their tokens and passes, with padding if ``model`` computes it: the longest
    sequences are measured, which need little. With ``compiles`` products are compiled for the shapes
    of each pass. The measured steps repeat theirs, so they do not show what this takes.
    """
    plan = BatchPlan(len(train), len(measured), seed=0)
    options = {
        "most": micro_batch_size,
        "forward_tokens": forward_tokens(model),
    }
    padded = train.classes is not None or not fits_one_row(model)
    steps = [plan.indices(step) for step in range(min(plan.steps_per_epoch, SAMPLED_STEPS))]
    costs = [step_cost(indices, train.lengths, **options, padded=padded) for indices in steps]
    whole = step_cost(range(len(measured)), measured.lengths, **options, padded=padded)
    mean = seconds * float(np.mean(costs)) / whole
    if not compiles:
        return mean
    passes = [len(micro_batches(indices, train.lengths, **options)) for indices in steps]
    return mean + COMPILE_SECONDS * float(np.mean(passes))
