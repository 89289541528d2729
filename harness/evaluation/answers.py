"""Scores of generated answers: sacrebleu's BLEU and chrF with their signatures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF


def answer_statistics(
    metric: str, texts: Sequence[str], references: Sequence[Sequence[str]], tokenize: str
) -> tuple[np.ndarray, str]:
    """(n, k) statistics of each sentence, and sacrebleu's signature for their corpus score."""
    # Sentences may have different numbers of references: sacrebleu takes streams, None for no more.
    n_streams = max(len(refs) for refs in references)
    streams = [
        [refs[i] if i < len(refs) else None for refs in references] for i in range(n_streams)
    ]
    scorer = BLEU(tokenize=tokenize) if metric == "bleu" else CHRF()
    scorer.corpus_score(list(texts), streams)  # the signature is known only afterwards
    statistics = scorer._extract_corpus_statistics(list(texts), streams)
    return np.asarray(statistics, dtype=np.float64), str(scorer.get_signature())
