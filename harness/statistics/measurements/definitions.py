"""Definitions of every kind of measurement: formula, columns, unit, direction and wording.

A new metric is one entry of ``METRIC_DEFINITIONS``, which the record, objectives and report read.
"""

from __future__ import annotations

import math

from harness.statistics.measurements import formulas
from harness.statistics.measurements.definition import Direction, MetricDefinition
from harness.statistics.measurements.of_answers import ANSWER_METRICS
from harness.statistics.measurements.of_finalists import FINALIST_METRICS
from harness.statistics.measurements.of_updates import UPDATE_METRICS

__all__ = ["METRIC_DEFINITIONS", "Direction", "MetricDefinition", "kind_of", "own_kind", "unit_of"]

METRIC_DEFINITIONS: dict[str, MetricDefinition] = {
    **ANSWER_METRICS,
    **FINALIST_METRICS,
    **UPDATE_METRICS,
    "perplexity": MetricDefinition(
        title="perplexity",
        unit="per token",
        direction="minimize",
        score=formulas.perplexity,
        columns=(2,),
        counted=False,
        definition="Perplexity: exp of the negative log-likelihood per token, over all tokens.",
        margin=0.02,
        logarithmic=True,
    ),
    "bits_per_byte": MetricDefinition(
        title="bits per byte",
        unit="bits/byte",
        direction="minimize",
        span=(0, math.inf),
        score=formulas.bits_per_byte,
        columns=(2,),
        counted=False,
        definition="Bits per byte: negative log-likelihood per UTF-8 byte of text, in bits. It does "
        "not depend on the tokenizer.",
        margin=0.01,
    ),
    "kl": MetricDefinition(
        title="KL",
        unit="nats/token",
        direction="minimize",
        span=(0, math.inf),
        columns=(2,),
        counted=False,
        shown_unit="nats/token",
        definition="KL(base ‖ tuned), nats per token: distance of the predictions from those of the "
        "untouched base, on text that was not trained on. 0 means unchanged. If the signature says "
        "'top k and tail', it is a lower bound, because only these of the base's probabilities were "
        "kept.",
        margin=0.01,
    ),
    "nll": MetricDefinition(
        title="NLL rise",
        unit="nats/token",
        direction="minimize",
        score=formulas.rise,
        columns=(3,),
        counted=False,
        shown_unit="nats/token",
        definition="Rise of the negative log-likelihood over the untouched base, nats per token, on "
        "text that was not trained on.",
        margin=0.01,
    ),
    "nll_lost": MetricDefinition(
        title="NLL lost",
        unit="nats/token",
        direction="minimize",
        span=(0, math.inf),
        score=formulas.rise,
        columns=(3,),
        counted=False,
        shown_unit="nats/token",
        decimals=3,
        definition="NLL lost: the rise over the documents that became harder, over all tokens. Lost "
        "minus gained is the NLL rise; noise alone puts both above 0.",
    ),
    "nll_gained": MetricDefinition(
        title="NLL gained",
        unit="nats/token",
        direction="maximize",
        span=(0, math.inf),
        score=formulas.rise,
        columns=(3,),
        counted=False,
        shown_unit="nats/token",
        decimals=3,
        definition="NLL gained: the fall over the documents that became easier, over all tokens.",
    ),
    "accuracy": MetricDefinition(
        title="accuracy",
        unit="share of texts",
        direction="maximize",
        span=(0, 1),
        definition="Accuracy: the share of texts whose most likely class is the true one.",
        margin=0.01,
    ),
    "macro_f1": MetricDefinition(
        title="macro F1",
        unit="mean F1 of the classes",
        direction="maximize",
        span=(0, 1),
        score=formulas.macro_f1,
        columns=range(6, 3 * 100_000, 3),
        counted=False,
        definition="Macro F1: the mean over classes of F1 = 2·both / (predicted + true), with equal "
        "weights.",
        margin=0.01,
    ),
    "loss": MetricDefinition(
        title="loss",
        unit="nats/text",
        direction="minimize",
        span=(0, math.inf),
        columns=(2,),
        counted=False,
        shown_unit="nats/text",
        definition="Loss: negative log-likelihood of the true class, nats per text.",
        margin=0.02,
    ),
}

ALIASES: dict[str, str] = {"kl_target": "kl"}  # another name of a measurement → its kind
# Metric of lm-eval → kind; all others are of the kind 'task'.
OF_TASKS: dict[str, str] = {
    **dict.fromkeys(("perplexity", "word_perplexity", "byte_perplexity"), "task_perplexity"),
    **dict.fromkeys(("brier_score", "ter"), "task_error"),
    **dict.fromkeys(("acc", "acc_norm", "acc_bytes", "acc_mutual_info"), "task_share"),
    "bits_per_byte": "bits_per_byte",
    "written_minus_likely": "written_minus_likely",
}


def kind_of(name: str) -> str:
    """Return the kind of a measurement: 'bleu' for 'test.bleu', 'kl' for 'forgetting.kl.news'.

    For an unknown name, such as one from another version, the kind is its second part.
    """
    parts = name.split(".")
    if parts[0] == "tasks":  # tasks.NAME.METRIC or METRIC,FILTER: a metric of lm-eval's
        return OF_TASKS.get(parts[-1].split(",")[0], "task")
    kind = parts[1] if len(parts) > 1 else parts[0]
    return ALIASES.get(kind, kind)


def own_kind(name: str) -> MetricDefinition:
    """Return the definition of a measurement of this version. Raises KeyError for any other."""
    kind = METRIC_DEFINITIONS.get(kind_of(name))
    if kind is None:
        raise KeyError(
            f"{name}: unknown kind of measurement; it needs an entry in METRIC_DEFINITIONS"
        )
    return kind


def unit_of(name: str) -> str:
    """Return the unit of a measurement's value in a record. Raises KeyError for an unknown name."""
    return own_kind(name).unit
