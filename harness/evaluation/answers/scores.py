"""Scores of generated answers as per-example statistics, each with the signature of its computation.

sacrebleu computes BLEU, chrF, chrF++ and TER. Exact match, token F1 and ROUGE have their own
modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from harness.config.metrics import OWN
from harness.evaluation.answers import matching, rouge
from harness.evaluation.answers.scripts import writes_without_spaces


def answer_statistics(
    metric: str, texts: Sequence[str], references: Sequence[Sequence[str]], tokenize: str
) -> tuple[np.ndarray, str]:
    """Return (n, k) statistics of the answers and their signature, see ``measurements.definitions``.

    Raises ValueError for a metric that is not in ``harness.config.metrics.OWN``.
    """
    if metric in ("exact_match", "token_f1"):
        return matching.statistics(metric, texts, references)
    if metric in ("rouge1", "rouge2", "rougeL"):
        return rouge.statistics(metric, texts, references)
    # Sentences may have different numbers of references: sacrebleu takes streams, None for no more.
    n_streams = max(len(refs) for refs in references)
    streams = [
        [refs[i] if i < len(refs) else None for refs in references] for i in range(n_streams)
    ]
    scorer = _scorer(metric, references, tokenize)
    scorer.corpus_score(list(texts), streams)  # the signature is known only afterwards
    statistics = scorer._extract_corpus_statistics(list(texts), streams)
    return np.asarray(statistics, dtype=np.float64), str(scorer.get_signature())


def _scorer(metric: str, references: Sequence[Sequence[str]], tokenize: str) -> Any:
    if metric == "bleu":
        return BLEU(tokenize=tokenize)
    if metric == "ter":  # words are what it counts: of such a script, characters
        spaceless = writes_without_spaces(references)
        return TER(normalized=spaceless, asian_support=spaceless)
    if metric in ("chrf", "chrf++"):
        return CHRF(word_order=2 if metric == "chrf++" else 0)
    raise ValueError(f"{metric!r} is no metric of answers: one of {', '.join(OWN)}")
