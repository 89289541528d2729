"""Memory by purpose, and time, of a configuration, measured on four real steps."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from harness import methods
from harness.config import LimitsConfig, TrialConfig
from harness.config.strict import from_mapping
from harness.data.tokens.encode import Encoded
from harness.errors import is_out_of_memory
from harness.evaluation.decoding import Decoding
from harness.evaluation.generation import generate
from harness.evaluation.likelihood import sequence_nll
from harness.evaluation.texts import Texts
from harness.methods.base import FirstStage
from harness.models.load import Base
from harness.models.logprobs import base_logprobs
from harness.models.precision import computing, copies_bytes
from harness.models.stored_bytes import stored_bytes
from harness.records import read_json, write_json
from harness.records.fingerprint import digest
from harness.records.footprint import Footprint
from harness.training.allocation import AllocationMeter
from harness.training.checkpoint import CheckpointFolder
from harness.training.distributed.team import ALONE
from harness.training.energy import EnergyMeter
from harness.training.memory import (
    available_gb,
    first_line,
    peak_gb,
    reset_peak,
)
from harness.trials.adapt import Earlier
from harness.trials.artifacts import EventLog
from harness.trials.cost import Clock
from harness.trials.job import Job
from harness.trials.run import device_name
from harness.trials.tuning import Control, Tuning
from harness.trials.workbench import BaseResults, Inputs, Workbench, quantization_of

FORMAT = 3  # increase it when the measurement changes
COUNTED = 2  # steps: one creates the optimizer's state, one starts with it
TIMED = 2  # more
NEW_TOKENS = 8  # tokens of answers, to measure their speed
NOTHING = cast(BaseResults, None)  # nothing is evaluated here
GO_ON = Control(lambda step, values: True, lambda: False)
NO_LIMITS = LimitsConfig(None, None, None, None)


class _Enough(Exception):
    """Enough steps were measured."""


class _Measuring(Tuning):
    """The real training loop, ended after the measured steps."""

    def __init__(self, job: Job, bench: Workbench, inputs: Inputs, base: Base) -> None:
        super().__init__(job, bench, inputs, NOTHING, base, Clock(bench.device))
        self.selection = None
        self.evaluations = 0  # on the way, in a real run
        self.progress.step = max(0, self.method.heaviest_step(self.plan) - COUNTED - TIMED + 1)
        self.meter: AllocationMeter | None = None
        self.laps: list[tuple[int, int]] = []
        self.peaks: list[float] = []
        self.timed, self.began, self.seconds = 0, 0.0, 0.0  # of a step
        self.energy: EnergyMeter | None = None
        self.watts: float | None = None

    def log_of(self, name: str) -> EventLog:
        return _Ear(self)

    def first_stage(self, stage: FirstStage, accelerator: Any, control: Control) -> Earlier:
        return Earlier()  # its steps equal those of full fine-tuning on the same texts

    def begin(self) -> None:
        self.peaks.append(peak_gb(self.bench.device))  # of adapting
        reset_peak(self.bench.device)
        self.meter = AllocationMeter(self.bench.device)

    def stepped(self) -> None:
        """Measure after each step. The last steps are only timed, because counting takes time too."""
        if self.meter is None:
            self.timed += 1
            if self.timed < TIMED:
                return
            assert self.energy is not None
            seconds, joules = time.perf_counter() - self.began, self.energy.joules()
            self.watts = joules / seconds if joules else None
            self.seconds = seconds / TIMED
            raise _Enough
        self.peaks.append(peak_gb(self.bench.device))
        self.laps.append(self.meter.lap())
        if len(self.laps) == COUNTED:
            self.stop()
            self.energy = EnergyMeter(self.bench.device)
            self.began = time.perf_counter()

    def stop(self) -> None:
        if self.meter is not None:
            self.meter.close()
        self.meter = None

    def require_room(self) -> None:
        """Do nothing: no file is written."""

    def _watch(self, step: int) -> dict[str, float]:
        return {}


class _Ear(EventLog):
    """A log that counts steps and writes nothing."""

    def __init__(self, measuring: _Measuring) -> None:
        self._measuring = measuring

    def begin(self, step: int) -> None:
        self._measuring.begin()

    def step(self, row: dict[str, Any]) -> None:
        self._measuring.stepped()

    def flush(self) -> None: ...


def footprints(spec: Mapping[str, Any], folder: Path, bench: Workbench) -> list[dict[str, Any]]:
    """Return the footprint of each of ``spec["configs"]``; measured once per cache and kind of device.

    ``spec["devices"]`` devices train one together; this one has its share. That not even one
    sequence at a time fits is no error: ``infeasible`` says so. Raises InputError.
    """
    found = []
    for data in spec["configs"]:
        config: TrialConfig = from_mapping(TrialConfig, data)
        content = bench.splits(config.data).fingerprint
        key = [FORMAT, asdict(config), spec["devices"], device_name(bench.device), content]
        kept = bench.cache / "footprints" / f"{digest(key, 24)}.json"
        known = read_json(kept)
        if not isinstance(known, dict):
            known = asdict(_measure(config, spec["devices"], folder, bench))
            if known["micro_batch_size"] == config.training.batch_size:
                write_json(kept, known)  # otherwise others may have held memory that is free later
        found.append(known | {"available_gb": available_gb(bench.device)})
    return found


def _measure(config: TrialConfig, devices: int, folder: Path, bench: Workbench) -> Footprint:
    bench = copy.copy(bench)
    bench.team = ALONE
    inputs, stored = bench.inputs(config), methods.build(config.method).base_quantization
    own = quantization_of(config.model)
    with bench.pool.lend(config.model, stored or own) as base:
        whole = Tuning(
            _job(config, folder, bench), bench, inputs, NOTHING, base, Clock(bench.device)
        )
        steps = whole.plan.total_steps
        few = replace(inputs, train=_longest(inputs.train, config, devices))
        tuning = _Measuring(_job(_as_long(config, steps), folder, bench), bench, few, base)
        tuning.evaluations = steps // (config.training.eval_every or max(1, steps // 4))
        try:
            tuning.run(CheckpointFolder(folder / "checkpoint"), GO_ON)
        except _Enough:
            pass
        finally:
            tuning.stop()
        room = available_gb(bench.device)
        found = Footprint(device_name(bench.device), room, steps, max([*tuning.peaks, 0.0]))
        if tuning.status == "diverged":
            return found  # unrelated to memory: the trial itself will report it
        if not tuning.seconds:
            return replace(found, infeasible=tuning.reason or tuning.status)
        try:
            found = replace(found, **_memory(tuning))
            with computing(tuning.model):
                found = replace(found, **_seconds(tuning, inputs, few))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            why = f"out of memory while answering: {first_line(error)}"
            found = replace(found, infeasible=why)
        return replace(found, peak_gb=max(found.peak_gb, peak_gb(bench.device)))


def _job(config: TrialConfig, folder: Path, bench: Workbench) -> Job:
    return Job(
        folder=str(folder),
        cache=str(bench.cache),
        method="",
        config=config,
        limits=NO_LIMITS,
        trial=0,
        attempt=1,
        fingerprint="",
        configuration="",
        overrides=(),
        searched={},
        asks_pruner=False,
        keep_adapter=False,
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


def _memory(tuning: _Measuring) -> dict[str, Any]:
    (state, first_peak), (_, second_peak) = tuning.laps
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
        "watts": tuning.watts,
    }


def _seconds(tuning: _Measuring, inputs: Inputs, few: Inputs) -> dict[str, float]:
    step = tuning.seconds * inputs.train.lengths.mean() / few.train.lengths.mean()
    scoring, answering = _scoring(tuning, inputs), _answering(tuning, inputs)
    return {"step_seconds": float(step), "scoring_seconds": scoring, "answering_seconds": answering}


def _scoring(tuning: _Measuring, inputs: Inputs) -> float:
    """Estimate the seconds of all evaluations of a run from one batch of its longest texts.

    Log-probabilities under the base are held meanwhile, as for KL.
    """
    config, device = tuning.job.config, tuning.bench.device
    evaluation, times = config.evaluation, tuning.evaluations
    scored = _texts(inputs.final) + times * _texts(inputs.watched)
    longest = next((part for part in reversed(scored) if part.classes is None), None)
    if longest is None:
        return 0.0
    order = np.argsort(-longest.lengths, kind="stable")
    batch = longest.take(order[: evaluation.batch_size].tolist())
    known = base_logprobs(
        tuning.model,
        batch,
        batch_size=evaluation.batch_size,
        device=device,
        top_k=evaluation.top_k_logprobs,
        memory_gb=evaluation.cache_gb,
    )
    began = time.perf_counter()
    sequence_nll(tuning.model, batch, evaluation.batch_size, device, reference=known)
    a_token = (time.perf_counter() - began) / batch.lengths.sum()
    return float(a_token * sum(part.lengths.sum() for part in scored))


def _texts(texts: Texts) -> list[Encoded]:
    return [part for part in (texts.sequences, texts.drift, texts.general) if part is not None]


def _answering(tuning: _Measuring, inputs: Inputs) -> float:
    """Estimate the seconds of all answers at the end of a run, each at the maximum length."""
    evaluation, texts = tuning.job.config.evaluation, inputs.final
    if not texts.prompts:
        return 0.0
    n = min(NEW_TOKENS, texts.answers.tokens)
    prompts = sorted(texts.prompts, key=len, reverse=True)[: evaluation.batch_size]
    began = time.perf_counter()
    generate(
        tuning.model,
        inputs.tokenizer,
        prompts,
        max_new_tokens=n,
        num_beams=evaluation.num_beams,
        batch_size=evaluation.batch_size,
        device=tuning.bench.device,
        decoding=Decoding(min_new_tokens=n),
        look=False,
    )
    a_token = (time.perf_counter() - began) / n  # of every answer of a batch
    batches = -(-len(texts.prompts) // evaluation.batch_size)
    return a_token * batches * texts.answers.tokens
