"""Exact match and token F1 of answers, after SQuAD's normalization (Rajpurkar et al. 2016)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np

from harness.evaluation.answers.scripts import apart

NORMALIZATION = "norm:squad (lower case, no punctuation, no a/an/the, white space)"
_ARTICLES = re.compile(r"\b(a|an|the)\b")
# SQuAD removes ASCII punctuation only. Chinese and Japanese punctuation is removed as well.
_PUNCTUATION = str.maketrans(
    "", "", string.punctuation + "。、，．！？：；「」『』（）【】《》〈〉・"
)


def normalized(text: str) -> str:
    """Normalize like SQuAD: lower case, no punctuation, no articles, single spaces."""
    bare = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", bare).split())


def tokens(text: str) -> list[str]:
    """Split the normalized text into words; Chinese, Japanese, Korean and Thai into characters."""
    return apart(normalized(text)).split()


def statistics(
    metric: str, texts: Sequence[str], references: Sequence[Sequence[str]], tokenize: str
) -> tuple[np.ndarray, str]:
    """Return (n, 1) shares in [0, 1] for the best reference of each answer, and the signature."""
    one = exact_match if metric == "exact_match" else token_f1
    best = [
        max(one(text, reference) for reference in given)
        for text, given in zip(texts, references, strict=True)
    ]
    how = "" if metric == "exact_match" else "|tok:words, CJK and Thai by character"
    return np.array(best, dtype=np.float64)[:, None], f"{NORMALIZATION}{how}|refs:best|mean"


def exact_match(text: str, reference: str) -> float:
    return float(normalized(text) == normalized(reference))


def token_f1(text: str, reference: str) -> float:
    """Return the F1 of the multisets of tokens. Two texts without tokens are equal, as in SQuAD 2."""
    answer, target = tokens(text), tokens(reference)
    if not answer or not target:
        return float(answer == target)
    shared = sum((Counter(answer) & Counter(target)).values())
    return 2.0 * shared / (len(answer) + len(target))
