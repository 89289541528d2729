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
    """(n, k) counts of matches and lengths of each answer, and sacrebleu's signature."""
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
    return CHRF(word_order=2 if metric == "chrf++" else 0)
