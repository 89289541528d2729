"""BLEU, chrF, chrF++ and TER of answers, by sacrebleu."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from harness.evaluation.answers.scripts import writes_without_spaces

SCORERS = (
    3  # kept: for validation, for test, and for the check that a metric can tell answers apart
)
MOST_KEPT = (
    2000  # references of one: the n-grams of BLEU take 9 kB each, those of chrF four times that
)


def statistics(
    metric: str, texts: Sequence[str], references: Sequence[Sequence[str]], tokenize: str
) -> tuple[np.ndarray, str]:
    """Return (n, k) counts of matches and lengths of each answer, and sacrebleu's signature."""
    few = metric == "bleu" and sum(map(len, references)) <= MOST_KEPT
    build = _scorer if few else _scorer.__wrapped__
    scorer = build(metric, tuple(map(tuple, references)), tokenize)
    statistics = scorer._extract_corpus_statistics(list(texts), None)
    return np.asarray(statistics, dtype=np.float64), str(scorer.get_signature())


@lru_cache(maxsize=SCORERS)
def _scorer(metric: str, references: tuple[tuple[str, ...], ...], tokenize: str) -> Any:
    """Build sacrebleu's metric from the references, so that its signature is complete.

    BLEU's is kept: every trial is scored on the same references, whose n-grams take nearly all of
    its time.
    """
    # sacrebleu takes streams of references, with None where an answer has fewer references.
    n_streams = max(len(refs) for refs in references)
    streams: Any = [
        [refs[i] if i < len(refs) else None for refs in references] for i in range(n_streams)
    ]
    if metric == "bleu":
        return BLEU(tokenize=tokenize, references=streams)
    if metric == "ter":  # counts words, and characters in scripts without spaces
        spaceless = writes_without_spaces(references)
        return TER(normalized=spaceless, asian_support=spaceless, references=streams)
    return CHRF(word_order=2 if metric == "chrf++" else 0, references=streams)
