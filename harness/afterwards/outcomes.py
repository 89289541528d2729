"""Post-training steps: rebuild the model from its saved adapter, apply a step, measure the result."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.afterwards.interpolate import interpolate, weights
from harness.afterwards.quantize import CALIBRATION_SEQUENCES, quantized
from harness.afterwards.update import update_analysis
from harness.config import EvaluationConfig, TrialConfig
from harness.data.tokens.batches import collate
from harness.evaluation.base_reference import Reference
from harness.evaluation.collector import MeasurementCollector
from harness.evaluation.suite import evaluate
from harness.evaluation.texts import Texts
from harness.language import recorded
from harness.methods.base import AdaptContext, Method
from harness.models.logits import logits_at
from harness.models.pool import ModelPool
from harness.models.weights.stored_bytes import stored_bytes
from harness.records import Measurement, Outcome
from harness.statistics.measurements.definitions import unit_of
from harness.statistics.measurements.names import MERGED_DIFFERENCE
from harness.terminal.phases import phase

if TYPE_CHECKING:
    from torch import Tensor, nn

COMPARED = 256  # token positions at which logits are compared


@dataclass(frozen=True)
class Trained:
    """A tuned model that was measured and saved, with its evaluation texts."""

    folder: Path  # where merged/ and update.json are written
    adapter: Path  # the saved adapter, or the whole model
    config: TrialConfig
    method: Method
    plan: AdaptContext
    texts: Texts
    reference: Reference
    logits: Tensor  # of this model, see some_logits


def wanted(config: EvaluationConfig) -> bool:
    kinds = (config.merged, config.interpolation, config.quantization, config.update_analysis)
    return any(kinds)


def some_logits(model: nn.Module, texts: Texts, device: str) -> Tensor:
    """Return logits (positions, vocabulary) of the first answers: at most ``COMPARED`` positions."""
    import torch

    some = list(range(min(len(texts.sequences), 8)))
    batch = collate(texts.sequences, some, pad_id=0).to(device)
    assert batch.predict is not None, "TrialConfig refuses it for classes"
    where = batch.predict & (batch.predict.flatten().cumsum(0) <= COMPARED).view_as(batch.predict)
    with torch.no_grad():
        return logits_at(model.eval(), batch.input_ids, batch.attention_mask, where).float().cpu()


def outcomes_of(trained: Trained, pool: ModelPool) -> dict[str, Outcome]:
    """Return name → outcome for all configured post-training steps.

    A step that is impossible has a reason and no measurements. The base is left unchanged.
    """
    evaluation = trained.config.evaluation
    if not wanted(evaluation):
        return {}
    reason = trained.method.cannot_merge
    if reason is not None:
        asked = {
            "merged": evaluation.merged,
            "interpolated": bool(evaluation.interpolation),
            "quantized": bool(evaluation.quantization),
            "update": evaluation.update_analysis,
        }
        note = recorded("not possible, there is no merged model: {reason}", reason=reason)
        return {name: Outcome(note=note) for name, wished in asked.items() if wished}

    found: dict[str, Outcome] = {}
    with pool.lend(trained.config.model, None) as base:
        before = weights(base.model)
        model = trained.method.merged(trained.method.load(base.model, trained.adapter))
        after = weights(model) | _exactly(model, trained.adapter)
        assert after.keys() == before.keys(), "a merged model has the form of the base"
        if evaluation.merged or evaluation.quantization:  # the reference for quantized models
            found["merged"] = _attempt(lambda: _merged(trained, model))
        for share in evaluation.interpolation:
            interpolate(model, before, after, share)
            found[f"interpolated {share:g}"] = _attempt(lambda: _interpolated(trained, model))
        interpolate(model, before, after, 1)
        for scheme in evaluation.quantization:
            found[f"quantized {scheme}"] = _attempt(partial(_quantized, trained, model, scheme))
        if evaluation.update_analysis:
            device = trained.plan.device
            found["update"] = _attempt(
                lambda: update_analysis(trained.folder, model, before, after, device)
            )
        interpolate(model, before, after, 0)
    return found


def _exactly(model: Any, folder: Path) -> dict[str, Tensor]:
    """Return the weights as trained and saved, if ``model`` holds them rounded to 16 bits.

    Most of a training update is smaller than the rounding error and would be lost.
    """
    import torch

    if model.dtype == torch.float32 or (folder / "adapter_config.json").exists():
        return {}
    options = {"dtype": torch.float32, "use_safetensors": True}
    return weights(type(model).from_pretrained(folder, **options))


def _attempt(make: Callable[[], Outcome]) -> Outcome:
    """Run one step. If it runs out of memory, only its own values are missing."""
    import torch

    try:
        return make()
    except torch.OutOfMemoryError as error:
        return Outcome(note=recorded("out of memory: {error}", error=str(error).splitlines()[0]))


@phase("merging, and measuring the result")
def _merged(trained: Trained, model: nn.Module) -> Outcome:
    """Merge, measure, compare with the trained model; write ``merged/`` if configured."""
    logits = some_logits(model, trained.texts, trained.plan.device)
    difference = float((logits - trained.logits).abs().max())
    again = measured_again(trained, model)
    measured = again.measurements
    signature = f"as trained and as merged|split:{trained.texts.split}|first answers"
    name = MERGED_DIFFERENCE
    measured[name] = Measurement(difference, unit_of(name), len(logits), None, signature)
    notes = []
    if not (trained.adapter / "adapter_config.json").exists():
        notes.append(recorded("the whole model is already saved in adapter/"))
    elif trained.config.evaluation.merged:
        _save(trained.folder / "merged", model, trained.plan.tokenizer)
        notes.append(recorded("in merged/"))
    if trained.method.base_quantization or trained.config.model.quantization != "none":
        notes.append(
            recorded("trained with quantized base weights, merged into those at full precision")
        )
    speed = again.generation_tokens_per_second
    return Outcome(measured, stored_bytes(model), _notes(again, *notes), speed)


@phase("interpolating with the base, and measuring the result")
def _interpolated(trained: Trained, model: nn.Module) -> Outcome:
    measured = measured_again(trained, model)
    speed = measured.generation_tokens_per_second
    return Outcome(measured.measurements, stored_bytes(model), _notes(measured), speed)


def _quantized(trained: Trained, model: nn.Module, scheme: str) -> Outcome:
    sequences = trained.plan.calibration(CALIBRATION_SEQUENCES, batch_size=1)
    with phase(f"quantizing with {scheme}, and measuring the result"):
        small = quantized(model, scheme, sequences)
        measured = measured_again(trained, small.model)
    speed = measured.generation_tokens_per_second
    return Outcome(measured.measurements, small.n_bytes, _notes(measured, small.how), speed)


def _notes(measured: MeasurementCollector, *notes: str) -> str | None:
    """Join the notes with the reasons for missing values."""
    missing = [
        recorded("{name} is missing: {why}", name=name, why=why)
        for name, why in measured.missing.items()
    ]
    return "; ".join([*notes, *missing]) or None


def measured_again(trained: Trained, model: nn.Module) -> MeasurementCollector:
    """Repeat the measurements of the tuned model with the same texts and base."""
    plan, evaluation = trained.plan, trained.config.evaluation
    return evaluate(
        model, plan.tokenizer, trained.texts, trained.reference, evaluation, plan.device
    )


def _save(folder: Path, model: Any, tokenizer: Any) -> None:
    """Save a model and its tokenizer atomically: the folder is complete or absent."""
    aside = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    model.save_pretrained(aside, safe_serialization=True)
    tokenizer.save_pretrained(aside)
    shutil.rmtree(folder, ignore_errors=True)
    aside.replace(folder)
