"""The configured metrics of generated answers: what they need, asked early, and their scores."""

from __future__ import annotations

import os
from collections.abc import Sequence

from harness.config import EvaluationConfig
from harness.config.metrics import JUDGE, is_external
from harness.errors import InputError
from harness.evaluation.answers import answer_statistics
from harness.evaluation.external import add_external
from harness.evaluation.measured import Measured
from harness.evaluation.rubric import read_rubric
from harness.evaluation.tokenizers import check_tokenizer


def check_answers(references: Sequence[Sequence[str]], config: EvaluationConfig) -> None:
    """Raises InputError for a metric that cannot be measured on these references, or not here.

    A script of evaluate's that cannot be loaded is no such error: its value will be missing.
    """
    if "bleu" in config.metrics:
        check_tokenizer(config.tokenize, references)
    if JUDGE in config.metrics:
        read_rubric(config.judge)
        variable = config.judge.api_key_variable
        if variable is not None and not os.environ.get(variable):
            raise InputError(
                f"evaluation.judge.api_key_variable={variable}: that environment variable is not set."
            )


def add_answers(
    measured: Measured,
    split: str,
    texts: Sequence[str],
    references: Sequence[Sequence[str]],
    config: EvaluationConfig,
    how: str,
) -> None:
    """Adds each configured metric but the judge, or the reason why it is missing.

    ``how`` is the part of the signatures that says how the answers were generated.
    """
    for metric in config.metrics:
        if is_external(metric):
            add_external(measured, split, metric, texts, references, how)
        elif metric != JUDGE:
            statistics, signature = answer_statistics(metric, texts, references, config.tokenize)
            measured.add(f"{split}.{metric}", statistics, signature + how)
