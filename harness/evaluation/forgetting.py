"""Forgetting: KL and rise of the loss against the base model on text that was not trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.config import EvaluationConfig
from harness.evaluation.base_reference import Reference
from harness.evaluation.collector import MeasurementCollector
from harness.evaluation.likelihood import (
    by_example,
    n_labels,
    nll_and_divergences,
    sequence_nll,
)
from harness.evaluation.texts import Texts
from harness.models.logprobs import LogProbs
from harness.statistics.measurements.names import DRIFT_KL
from harness.statistics.scores import aggregate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn


def forgetting(
    measured: MeasurementCollector,
    model: nn.Module,
    texts: Texts,
    references: Mapping[str, Reference],
    config: EvaluationConfig,
    device: str,
) -> None:
    """Add KL from the base and rise of the NLL on general text: overall, by domain, worst domain.

    ``references`` names the bases to compare with, all in one pass: ``forgetting`` for the untouched
    base. The rise is signed: text that became easier counts against text that became harder.
    ``nll_lost`` and ``nll_gained`` separate the two by document, and ``nll`` is lost minus gained.
    For classifiers, forgetting is measured on the fine-tuned body with the base model's original
    output layer, which stays frozen.
    """
    known = {
        prefix: (reference, reference.general)
        for prefix, reference in references.items()
        if reference.general is not None
    }
    if texts.general is None or not known:
        return
    kept = [general for _, general in known.values()]
    nll, *divergences = nll_and_divergences(model, texts.general, config.batch_size, device, kept)
    for (prefix, (reference, general)), kl in zip(known.items(), divergences, strict=True):
        _add(measured, prefix, texts, reference, general, nll, kl)


def _add(
    measured: MeasurementCollector,
    prefix: str,
    texts: Texts,
    reference: Reference,
    kept: LogProbs,
    nll: np.ndarray,
    kl: np.ndarray,
) -> None:
    encoded = texts.general
    assert encoded is not None
    assert reference.general_nll is not None, "measured with its log-probabilities"
    counts = n_labels(encoded)
    kl_columns = by_example(encoded, kl, counts)
    nll_columns = by_example(encoded, nll, counts, reference.general_nll)
    domains = np.asarray(texts.domains)
    under = "|output layer:the base's" if texts.sequences.classes is not None else ""
    kl_signature = _kl_signature(kept, general_text(texts)) + under
    nll_signature = f"text:{general_text(texts)}|change from base|weight:token{under}"
    measured.add(f"{prefix}.kl", kl_columns, kl_signature, at_least=kept.is_cut)
    measured.add(f"{prefix}.nll", nll_columns, nll_signature)
    for kind, columns in lost_and_gained(nll_columns).items():
        measured.add(f"{prefix}.{kind}", columns, f"{nll_signature}|documents apart by sign")
    names = list(dict.fromkeys(texts.domains))
    if len(names) < 2:
        return
    kinds = (("kl", kl_columns, kl_signature), ("nll", nll_columns, nll_signature))
    for kind, columns, signature in kinds:
        name, at_least = f"{prefix}.{kind}", kind == "kl" and kept.is_cut
        of_domain = {domain: columns[domains == domain] for domain in names}
        for domain, part in of_domain.items():
            measured.add(
                f"{name}.{domain}", part, f"{signature}|domain:{domain}", at_least=at_least
            )
        scores = [float(aggregate(name, part)) for part in of_domain.values()]
        worst = names[scores.index(max(scores))]
        of_worst = f"{signature}|domain:{worst} (the worst of {len(names)})"
        measured.add(f"{name}.worst_domain", of_domain[worst], of_worst, at_least=at_least)


def lost_and_gained(columns: np.ndarray) -> dict[str, np.ndarray]:
    """Split (n, 3) columns nll, tokens, base nll into those that rose and those that fell.

    ``nll_lost`` − ``nll_gained`` is the rise of all. Neither is ever negative, and noise alone
    makes both positive. Only their difference shows forgetting.
    """
    nll, tokens, base = columns.T
    return {
        "nll_lost": np.stack([np.maximum(nll, base), tokens, base], axis=1),
        "nll_gained": np.stack([base, tokens, np.minimum(nll, base)], axis=1),
    }


def drift(
    measured: MeasurementCollector,
    model: nn.Module,
    texts: Texts,
    reference: Reference,
    config: EvaluationConfig,
    device: str,
) -> None:
    """Add the KL from the base on the task's own prompts, nats per token.

    It is cheap to measure and predicts forgetting (Shenfeld et al. 2025, arXiv:2509.04259).
    """
    if texts.drift is None or reference.drift is None:
        return
    _, kl = sequence_nll(model, texts.drift, config.batch_size, device, reference.drift)
    statistics = by_example(texts.drift, kl, n_labels(texts.drift))
    signature, at_least = _kl_signature(reference.drift, texts.split), reference.drift.is_cut
    measured.add(DRIFT_KL, statistics, signature, at_least=at_least)


def general_text(texts: Texts) -> str:
    """Return the name of the general text in use; search and finalists have separate halves."""
    return "general-search" if texts.split == "validation" else "general-test"


def _kl_signature(kept: LogProbs, text: str) -> str:
    form = "full vocabulary"
    if kept.is_cut:
        form = f"top {kept.values.shape[1]} and tail (a lower bound)"
    return f"KL(base‖tuned)|{form}|text:{text}|weight:token"
