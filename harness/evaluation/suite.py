"""Evaluation of one model: a full one at the end of a run, and a cheap one during training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from harness.config import EvaluationConfig
from harness.evaluation.base_reference import Reference
from harness.evaluation.classification import class_logprobs, class_statistics
from harness.evaluation.collector import MeasurementCollector
from harness.evaluation.forgetting import drift, forgetting
from harness.evaluation.likelihood import by_example, n_labels, sequence_nll
from harness.evaluation.quality import quality
from harness.evaluation.texts import Texts
from harness.models.scoring import planned_batches
from harness.statistics.measurements.names import DRIFT_KL, FORGETTING_KL, FORGETTING_NLL
from harness.statistics.scores import aggregate

if TYPE_CHECKING:
    from torch import nn


def evaluate(
    model: nn.Module,
    tokenizer: Any,
    texts: Texts,
    reference: Reference,
    config: EvaluationConfig,
    device: str,
    quantized: Reference | None = None,
) -> MeasurementCollector:
    """Measure likelihood and answers on the split, forgetting and drift; benchmarks run elsewhere.

    ``quantized``: the base as the method stores it. Forgetting from it excludes the effect of
    quantization.
    """
    measured = MeasurementCollector(config.bootstrap_resamples)
    quality(measured, model, tokenizer, texts, config, device)
    references = {"forgetting": reference}
    if quantized is not None:
        references["forgetting_from_quantized"] = quantized
    forgetting(measured, model, texts, references, config, device)
    drift(measured, model, texts, reference, config, device)
    return measured


def evaluate_before_training(
    model: nn.Module,
    texts: Texts,
    reference: Reference,
    config: EvaluationConfig,
    device: str,
) -> dict[str, float]:
    """Return the same as ``evaluate_during_training`` of an adapted model before its first step.

    If it predicts the longest general texts exactly as the base does, bit for bit, it is still the
    base, whose values are known. Otherwise it is measured.
    """
    if not _is_the_base(model, texts, reference, config, device):
        return evaluate_during_training(model, texts, reference, config, device)
    perplexity = f"{texts.split}.perplexity"
    known = reference.measurements
    values = {perplexity: known[perplexity].value} if perplexity in known else {}
    drift_kl = {} if texts.drift is None else {DRIFT_KL: 0.0}
    return values | {FORGETTING_KL: 0.0, FORGETTING_NLL: 0.0} | drift_kl


def _is_the_base(
    model: nn.Module, texts: Texts, reference: Reference, config: EvaluationConfig, device: str
) -> bool:
    """Compare the NLL of the first batch of general text, in the very batch it was measured in."""
    if texts.general is None or texts.sequences.classes is not None:
        return False
    first = planned_batches(model, texts.general, config.batch_size)[0]
    nll, _ = sequence_nll(model, texts.general.take(first), config.batch_size, device)
    assert reference.general_nll is not None, "measured with its log-probabilities"
    return np.array_equal(nll, reference.general_nll[first])


def evaluate_during_training(
    model: nn.Module,
    texts: Texts,
    reference: Reference,
    config: EvaluationConfig,
    device: str,
) -> dict[str, float]:
    """Return the measurements that are cheap enough to repeat: no generation, no intervals."""
    columns: dict[str, np.ndarray] = {}
    if texts.sequences.classes is not None:
        logprobs = class_logprobs(model, texts.sequences, config.batch_size, device)
        statistics = class_statistics(logprobs, texts.sequences.classes)
        columns |= {f"{texts.split}.{kind}": values for kind, values in statistics.items()}
    else:
        nll, _ = sequence_nll(model, texts.sequences, config.batch_size, device)
        counts = n_labels(texts.sequences)
        columns[f"{texts.split}.perplexity"] = by_example(texts.sequences, nll, counts)
    for name, encoded, kept in (
        (FORGETTING_KL, texts.general, reference.general),
        (DRIFT_KL, texts.drift, reference.drift),
    ):
        if encoded is not None and kept is not None:
            nll, kl = sequence_nll(model, encoded, config.batch_size, device, kept)
            columns[name] = by_example(encoded, kl, n_labels(encoded))
            if name == FORGETTING_KL:
                base = reference.general_nll
                assert base is not None, "measured with its log-probabilities"
                columns[FORGETTING_NLL] = by_example(encoded, nll, n_labels(encoded), base)
    with np.errstate(over="ignore"):
        values = {name: float(aggregate(name, statistics)) for name, statistics in columns.items()}
    return {name: value for name, value in values.items() if np.isfinite(value)}
