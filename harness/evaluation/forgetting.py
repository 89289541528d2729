"""Distance of a model from its base on text that it was not trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.config import EvaluationConfig
from harness.evaluation.base_reference import Reference
from harness.evaluation.collector import MeasurementCollector
from harness.evaluation.likelihood import by_example, n_labels, sequence_nll
from harness.evaluation.texts import Texts
from harness.models.logprobs import LogProbs
from harness.statistics.measurements.names import DRIFT_KL
from harness.statistics.scores import aggregate

if TYPE_CHECKING:
    from torch import nn


def forgetting(
    measured: MeasurementCollector,
    prefix: str,
    model: nn.Module,
    texts: Texts,
    reference: Reference,
    config: EvaluationConfig,
    device: str,
) -> None:
    """Add KL from the base and rise of the NLL on general text: overall, by domain, worst domain.

    The rise is signed: text that became easier counts against text that became harder. ``nll_lost``
    and ``nll_gained`` separate the two by document, and ``nll`` is lost minus gained. For
    classifiers, forgetting is measured on the fine-tuned body with the base model's original output
    layer, which stays frozen.
    """
    encoded, kept = texts.general, reference.general
    if encoded is None or kept is None:
        return
    assert reference.general_nll is not None, "measured with its log-probabilities"
    nll, kl = sequence_nll(model, encoded, config.batch_size, device, kept)
    counts = n_labels(encoded)
    kl_columns = by_example(encoded, kl, counts)
    nll_columns = by_example(encoded, nll, counts, reference.general_nll)
    domains = np.asarray(texts.domains)
    under = "|output layer:the base's" if texts.sequences.classes is not None else ""
    kl_about = _kl_signature(kept, general_text(texts)) + under
    nll_about = f"text:{general_text(texts)}|change from base|weight:token{under}"
    measured.add(f"{prefix}.kl", kl_columns, kl_about, at_least=kept.is_cut)
    measured.add(f"{prefix}.nll", nll_columns, nll_about)
    for kind, columns in lost_and_gained(nll_columns).items():
        measured.add(f"{prefix}.{kind}", columns, f"{nll_about}|documents apart by sign")
    names = list(dict.fromkeys(texts.domains))
    if len(names) < 2:
        return
    for kind, columns, about in (("kl", kl_columns, kl_about), ("nll", nll_columns, nll_about)):
        name, at_least = f"{prefix}.{kind}", kind == "kl" and kept.is_cut
        of_domain = {domain: columns[domains == domain] for domain in names}
        for domain, part in of_domain.items():
            measured.add(f"{name}.{domain}", part, f"{about}|domain:{domain}", at_least=at_least)
        scores = [float(aggregate(name, part)) for part in of_domain.values()]
        worst = names[scores.index(max(scores))]
        said = f"{about}|domain:{worst} (the worst of {len(names)})"
        measured.add(f"{name}.worst_domain", of_domain[worst], said, at_least=at_least)


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
    """Add KL from the base on the new task's own prompts, arXiv:2509.04259: a cheap predictor."""
    if texts.drift is None or reference.drift is None:
        return
    _, kl = sequence_nll(model, texts.drift, config.batch_size, device, reference.drift)
    statistics = by_example(texts.drift, kl, n_labels(texts.drift))
    about, at_least = _kl_signature(reference.drift, texts.split), reference.drift.is_cut
    measured.add(DRIFT_KL, statistics, about, at_least=at_least)


def general_text(texts: Texts) -> str:
    """Return the name of the half of the general text in use: one for the search, one for finalists."""
    return "general-search" if texts.split == "validation" else "general-test"


def _kl_signature(kept: LogProbs, text: str) -> str:
    form = "full vocabulary"
    if kept.is_cut:
        form = f"top {kept.values.shape[1]} and tail (a lower bound)"
    return f"KL(base‖tuned)|{form}|text:{text}|weight:token"
