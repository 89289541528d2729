"""ROUGE-1, ROUGE-2 and ROUGE-L of answers (Lin 2004), by Google's rouge_score."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import metadata

import numpy as np

from harness.evaluation.answers.scripts import apart, mostly_ascii

_WORD = re.compile(r"[^\W_]+")


class UnicodeWords:
    """Tokenizer for lower-case words of any script; Chinese, Japanese, Korean and Thai by character.

    rouge_score's own tokenizer keeps only a to z and digits. It removes all text in other scripts,
    which makes every score 0.
    """

    def tokenize(self, text: str) -> list[str]:
        return _WORD.findall(apart(text.lower()))


def statistics(
    metric: str, texts: Sequence[str], references: Sequence[Sequence[str]], tokenize: str
) -> tuple[np.ndarray, str]:
    """Return (n, 1) F1 in [0, 1] with the best reference of each answer, and the signature."""
    from rouge_score.rouge_scorer import RougeScorer

    own = mostly_ascii(references)
    scorer = RougeScorer([metric], tokenizer=None if own else UnicodeWords())
    best = [
        scorer.score_multi(list(given), text)[metric].fmeasure
        for text, given in zip(texts, references, strict=True)
    ]
    words = "rouge_score" if own else "unicode words, CJK and Thai by character"
    version = metadata.version("rouge_score")
    signature = f"{metric}|F1|tok:{words}|stem:no|refs:best|mean|rouge_score:{version}"
    return np.array(best, dtype=np.float64)[:, None], signature
