"""Scores of generated answers as per-example statistics, each with the signature of its computation.

Each entry of ``ANSWER_METRICS`` names the module in this folder whose ``statistics`` computes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

import numpy as np

from harness.config.metrics import OWN
from harness.statistics.measurements.of_answers import ANSWER_METRICS


def answer_statistics(
    metric: str, texts: Sequence[str], references: Sequence[Sequence[str]], tokenize: str
) -> tuple[np.ndarray, str]:
    """Return (n, k) statistics of the answers and their signature, see ``measurements.definitions``.

    Raises ValueError for a metric that is not in ``harness.config.metrics.OWN``.
    """
    if metric not in OWN:
        raise ValueError(f"{metric!r} is no metric of answers: one of {', '.join(OWN)}")
    module = import_module(f"harness.evaluation.answers.{ANSWER_METRICS[metric].scorer}")
    return module.statistics(metric, texts, references, tokenize)
