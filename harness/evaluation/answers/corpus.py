"""BLEU, chrF, chrF++ and TER of answers, by sacrebleu."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from harness.evaluation.answers.scripts import writes_without_spaces


def statistics(
    metric: str, texts: Sequence[str], references: Sequence[Sequence[str]], tokenize: str
) -> tuple[np.ndarray, str]:
    """Return (n, k) counts of matches and lengths of each answer, and sacrebleu's signature."""
    # sacrebleu takes streams of references, with None where an answer has fewer references.
    n_streams = max(len(refs) for refs in references)
    streams = [
        [refs[i] if i < len(refs) else None for refs in references] for i in range(n_streams)
    ]
    scorer = _scorer(metric, references, tokenize, streams)
    statistics = scorer._extract_corpus_statistics(list(texts), None)
    return np.asarray(statistics, dtype=np.float64), str(scorer.get_signature())


def _scorer(
    metric: str, references: Sequence[Sequence[str]], tokenize: str, streams: list[Any]
) -> Any:
    """Build sacrebleu's metric from the references, so that its signature is complete."""
    if metric == "bleu":
        return BLEU(tokenize=tokenize, references=streams)
    if metric == "ter":  # counts words, and characters in scripts without spaces
        spaceless = writes_without_spaces(references)
        return TER(normalized=spaceless, asian_support=spaceless, references=streams)
    return CHRF(word_order=2 if metric == "chrf++" else 0, references=streams)
