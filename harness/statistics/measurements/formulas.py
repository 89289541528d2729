"""Formulas of all scores, as functions of summed columns over any leading shape.

``sums`` is (..., k): the k columns of per-example statistics, summed over the examples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def bleu(sums: Array) -> Array:
    """Return (...) BLEU, 0 to 100, from (..., 10) columns sys_len, ref_len, correct1-4, total1-4.

    Papineni et al. 2002, smoothed like NIST mteval-v13a ('exp'). Equal to sacrebleu's corpus score.
    """
    hypothesis_length, reference_length = sums[..., 0], sums[..., 1]
    correct, total = sums[..., 2:6], sums[..., 6:10]
    with np.errstate(divide="ignore", invalid="ignore"):
        no_match = correct == 0
        # sacrebleu halves the smoothed precision once more at every order without a match.
        halvings = 2.0 ** np.cumsum(no_match, axis=-1)
        precision = np.where(no_match, 100.0 / (halvings * total), 100.0 * correct / total)
        # An order that no sentence is long enough for gives precision 0, hence score 0.
        # sacrebleu stops at the first such order; longer orders are then empty as well.
        precision = np.where(total > 0, precision, 0.0)
        brevity = np.where(
            hypothesis_length < reference_length,
            np.exp(1.0 - reference_length / hypothesis_length),
            1.0,
        )
        brevity = np.where(hypothesis_length > 0, brevity, 0.0)
        score = brevity * np.exp(np.log(precision).mean(axis=-1))
    return np.where(correct.any(axis=-1), score, 0.0)


def chrf(sums: Array) -> Array:
    """Return (...) chrF, 0 to 100, from (..., 3 * orders) columns hyp, ref, match of each n-gram order.

    Popović 2015 with beta = 2 and effective order, as in sacrebleu. 24 columns give chrF++.
    """
    triples = sums.reshape(*sums.shape[:-1], -1, 3)
    hypothesis, reference, match = triples[..., 0], triples[..., 1], triples[..., 2]
    counted = (hypothesis > 0) & (reference > 0)
    orders = counted.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(counted, match / hypothesis, 0.0).sum(axis=-1) / orders
        recall = np.where(counted, match / reference, 0.0).sum(axis=-1) / orders
        score = 100.0 * 5.0 * precision * recall / (4.0 * precision + recall)
    return np.where((orders > 0) & (precision + recall > 0), score, 0.0)


def perplexity(sums: Array) -> Array:
    """Return (...) perplexity, weighted by token, from (..., 2) columns nll in nats, tokens."""
    return np.exp(sums[..., 0] / sums[..., 1])


def bits_per_byte(sums: Array) -> Array:
    """Return (...) bits per byte from (..., 2) columns nll in nats, UTF-8 bytes."""
    return sums[..., 0] / (sums[..., 1] * np.log(2.0))


def ratio(sums: Array) -> Array:
    """Return (...) amount per count, such as KL in nats per token, from (..., 2) columns."""
    return sums[..., 0] / sums[..., 1]


def rise(sums: Array) -> Array:
    """Return (...) rise of nll in nats per token from (..., 3) columns nll, tokens, nll of the base."""
    return (sums[..., 0] - sums[..., 2]) / sums[..., 1]


def change(sums: Array) -> Array:
    """Return (...) change of accuracy from (..., 3) columns correct, correct by the base, items."""
    return (sums[..., 0] - sums[..., 1]) / sums[..., 2]


def macro_f1(sums: Array) -> Array:
    """Return (...) mean F1 of the classes from (..., 3 * classes) columns predicted, true, both.

    F1 = 2·both / (predicted + true). A class that is neither predicted nor true is left out, as in
    scikit-learn.
    """
    predicted, true, both = np.moveaxis(sums.reshape(*sums.shape[:-1], 3, -1), -2, 0)
    counted = predicted + true > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where(counted, 2.0 * both / (predicted + true), 0.0)
    return each.sum(axis=-1) / counted.sum(axis=-1)


def ter(sums: Array) -> Array:
    """Return (...) TER in percent from (..., 2) columns edits, mean length of references in words.

    Snover et al. 2006, as in sacrebleu. It may exceed 100. Without reference words it is 100 if there
    is any edit, else 0.
    """
    edits, length = sums[..., 0], sums[..., 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return 100.0 * np.where(length > 0, edits / length, np.where(edits > 0, 1.0, 0.0))


def percent(sums: Array) -> Array:
    """Return (...) percent from (..., 2) columns amount in [0, 1], count."""
    return 100.0 * sums[..., 0] / sums[..., 1]
