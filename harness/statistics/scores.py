"""From per-example sufficient statistics to a score, for one sample or for thousands of resamples.

Every measurement that can be resampled keeps, for each example, the few numbers whose *sums* give
the score. A score is then a function of the summed columns, so a bootstrap is one matrix product.
The columns are those of `items.jsonl`, see `KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Container

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def kind_of(name: str) -> str:
    """The kind of a measurement: 'bleu' of 'test.bleu', 'kl' of 'forgetting.kl.news'."""
    parts = name.split(".")
    kind = parts[1] if len(parts) > 1 else parts[0]
    return "kl" if kind == "kl_target" else kind


def bleu(sums: Array) -> Array:
    """(..., 10) columns sys_len, ref_len, correct1-4, total1-4 -> (...) BLEU, 0 to 100.

    Papineni et al. 2002, smoothed as NIST mteval-v13a ('exp'): equal to sacrebleu's corpus score.
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
    """(..., 3 * orders) columns hyp, ref, match of each n-gram order -> (...) chrF, 0 to 100.

    Popović 2015 with beta = 2 and effective order, as sacrebleu; 24 columns make it chrF++.
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
    """(..., 2) columns nll in nats, tokens -> (...) perplexity, weighted by token."""
    return np.exp(sums[..., 0] / sums[..., 1])


def bits_per_byte(sums: Array) -> Array:
    """(..., 2) columns nll in nats, UTF-8 bytes -> (...) bits per byte."""
    return sums[..., 0] / (sums[..., 1] * np.log(2.0))


def ratio(sums: Array) -> Array:
    """(..., 2) columns amount, count -> (...) amount per count (KL in nats per token)."""
    return sums[..., 0] / sums[..., 1]


def rise(sums: Array) -> Array:
    """(..., 3) columns nll, tokens, nll of the base -> (...) rise of nll, nats per token."""
    return (sums[..., 0] - sums[..., 2]) / sums[..., 1]


def change(sums: Array) -> Array:
    """(..., 3) columns correct, correct by the base, items -> (...) change of accuracy."""
    return (sums[..., 0] - sums[..., 1]) / sums[..., 2]


def macro_f1(sums: Array) -> Array:
    """(..., 3 * classes) columns said, true, both of each class -> (...) mean F1 of the classes.

    F1 = 2·both / (said + true). A class that is neither said nor true plays no part, as in
    scikit-learn.
    """
    said, true, both = np.moveaxis(sums.reshape(*sums.shape[:-1], 3, -1), -2, 0)
    counted = said + true > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where(counted, 2.0 * both / (said + true), 0.0)
    return each.sum(axis=-1) / counted.sum(axis=-1)


# kind -> (score of summed columns, how many columns a row of items.jsonl has)
KINDS: dict[str, tuple[Callable[[Array], Array], Container[int]]] = {
    "bleu": (bleu, (10,)),
    "chrf": (chrf, (18, 24)),
    "perplexity": (perplexity, (2,)),
    "bits_per_byte": (bits_per_byte, (2,)),
    "kl": (ratio, (2,)),
    "nll": (rise, (3,)),
    "tasks": (change, (2,)),
    "macro_f1": (macro_f1, range(6, 3 * 100_000, 3)),
    "loss": (ratio, (2,)),
}


def can_aggregate(name: str, statistics: Array) -> bool:
    """Whether (..., n, k) statistics of this measurement can be scored: known kind, right k."""
    if statistics.ndim < 2 or statistics.shape[-2] == 0:
        return False
    kind, columns = kind_of(name), statistics.shape[-1]
    if kind in KINDS:
        return columns in KINDS[kind][1]
    return columns == 1  # any other metric: a plain mean over examples


def _with_count(name: str, statistics: Array) -> tuple[Callable[[Array], Array], Array]:
    """The scoring function, and the statistics with a column of ones where it divides by n."""
    kind = kind_of(name)
    function = KINDS[kind][0] if kind in KINDS else ratio
    if kind == "tasks" or kind not in KINDS:
        ones = np.ones((*statistics.shape[:-1], 1))
        statistics = np.concatenate([statistics, ones], axis=-1)
    return function, statistics


def aggregate(name: str, statistics: Array) -> Array:
    """(..., n, k) per-example statistics -> (...) scores over all n examples."""
    assert can_aggregate(name, statistics), f"{name}: no score from shape {statistics.shape}"
    function, columns = _with_count(name, np.asarray(statistics, dtype=np.float64))
    with np.errstate(all="ignore"):  # a score that is not finite is for the caller to drop
        return function(columns.sum(axis=-2))


def aggregate_resamples(name: str, statistics: Array, counts: Array) -> Array:
    """(n, k) statistics and (B, n) how often each example was drawn -> (B,) scores."""
    function, columns = _with_count(name, np.asarray(statistics, dtype=np.float64))
    with np.errstate(all="ignore"):
        return function(counts @ columns)
