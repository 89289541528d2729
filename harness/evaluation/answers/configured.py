"""Configured metrics of generated answers: early checks of their requirements, and their scores."""

from __future__ import annotations

import os
from collections.abc import Sequence

from harness.config import DataConfig, EvaluationConfig
from harness.config.metrics import JUDGE, OWN, is_external, measured_as
from harness.data.rows.example import Example
from harness.errors import InputError
from harness.evaluation.answers.answer_scores import answer_statistics
from harness.evaluation.answers.external import add_external, try_external
from harness.evaluation.answers.tokenizers import check_tokenizer
from harness.evaluation.collector import MeasurementCollector
from harness.evaluation.judge.rubric import read_rubric
from harness.evaluation.sight import Sight, instead, look, look_at_classes
from harness.language import recorded

BLIND = "cannot tell right answers from wrong ones on these data"


def check_answers(references: Sequence[Sequence[str]], config: EvaluationConfig) -> None:
    """Raise InputError for a metric that cannot be measured here, or if no metric discriminates.

    ``unusable`` checks the scripts of evaluate before a sweep or a trial begins.
    """
    if "bleu" in config.metrics:
        check_tokenizer(config.tokenize)
    if JUDGE in config.metrics:
        read_rubric(config.judge)
        variable = config.judge.api_key_variable
        if variable is not None and not os.environ.get(variable):
            raise InputError(
                f"evaluation.judge.api_key_variable={variable}: that environment variable is not set."
            )
    blind = blindness(references, config)
    if blind and len(blind) == len(config.metrics):
        reasons = "; ".join(f"{metric}: {why}" for metric, why in blind.items())
        other = instead(references, config.tokenize)
        raise InputError(
            f"evaluation.metrics=[{', '.join(config.metrics)}] cannot be used: no metric in it can "
            f"tell right answers from wrong ones on these data. {reasons}. "
            f"{f'Use {other}.' if other else 'Use evaluation.metrics=[], which leaves perplexity.'}"
        )


def sights_of(
    examples: Sequence[Example], data: DataConfig, config: EvaluationConfig
) -> dict[str, Sight]:
    """Check, for each measurement that scores answers, whether these examples let it discriminate."""
    if data.is_plain_text or not examples:
        return {}
    if data.is_classification:
        classes = look_at_classes([example.references[0] for example in examples])
        return {"accuracy": classes, "macro_f1": classes}
    return sights([example.references for example in examples], config)


def sights(references: Sequence[Sequence[str]], config: EvaluationConfig) -> dict[str, Sight]:
    """Check, for each configured built-in metric, whether these references let it discriminate."""
    own = [metric for metric in config.metrics if metric in OWN]
    return {metric: look(metric, references, config.tokenize) for metric in own}


def blindness(references: Sequence[Sequence[str]], config: EvaluationConfig) -> dict[str, str]:
    """Return metric → reason why it cannot separate right answers from wrong ones."""
    found = sights(references, config)
    return {metric: sight.why for metric, sight in found.items() if sight.why is not None}


def unusable(
    examples: Sequence[Example], data: DataConfig, config: EvaluationConfig
) -> dict[str, str]:
    """Return measurement → problem on these examples: 'will be missing: ...'.

    Raises InputError for a script of evaluate's that cannot be loaded.
    """
    seen = sights_of(examples, data, config).items()
    found = {metric: f"{BLIND}: {sight.why}" for metric, sight in seen if sight.why is not None}
    if not data.is_plain_text and not data.is_classification:
        references = [example.references for example in examples]
        for metric in filter(is_external, config.metrics):
            trouble = try_external(metric, references)
            if trouble is not None:
                found[measured_as(metric)] = trouble
    return found


def add_answers(
    measured: MeasurementCollector,
    split: str,
    texts: Sequence[str],
    references: Sequence[Sequence[str]],
    config: EvaluationConfig,
    how: str,
) -> None:
    """Add each configured metric except the judge, or the reason why it is missing or blind.

    ``how`` is the part of the signatures that describes the generation of the answers.
    """
    blind = blindness(references, config)
    for metric in config.metrics:
        if metric in blind:
            why = recorded(
                "it cannot tell right answers from wrong ones on these data: {why}",
                why=blind[metric],
            )
            measured.miss(f"{split}.{metric}", why, for_good=True)
        elif is_external(metric):
            add_external(measured, split, metric, texts, references, how)
        elif metric != JUDGE:
            statistics, signature = answer_statistics(metric, texts, references, config.tokenize)
            measured.add(f"{split}.{metric}", statistics, signature + how)
