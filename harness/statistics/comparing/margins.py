"""Margins of non-inferiority, and the check that a score carries information.

A test that finds no difference does not show equality (Altman & Bland 1995). Calling a candidate as
good as the best takes a margin stated beforehand and a confidence bound that excludes a larger
difference (non-inferiority; Wellek 2010, ch. 2). The default margins in ``METRIC_DEFINITIONS`` are
differences that practitioners ignore. Below 1 BLEU or 1 chrF point people rarely agree on the better
system (Kocmi et al. 2024, arXiv:2401.06760). The others are 1 percentage point of accuracy and 2 % of
a perplexity, which is 0.02 nats per token.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.statistics.measurements.definitions import METRIC_DEFINITIONS, kind_of

SHARE = 0.02  # default margin as a share of the value, for kinds without a margin
FEWEST_ITEMS = 10  # below it, a jackknife error is not meaningful
SAME_FORGETTING = 0.1  # relative difference that counts as equal
# Likelihoods of the same texts that replace a score without information. Bits per byte come first,
# because they do not depend on the tokenizer. The loss is that of a classifier.
INSTEAD_OF_BLIND = ("bits_per_byte", "perplexity", "loss")


def margin_of(name: str, best: float, asked: float | None = None) -> float:
    """Return the margin ``asked`` by the user, else the default of the kind at the score ``best``.

    It is in the unit of the comparison, which for a perplexity is nats per token.
    """
    if asked is not None:
        return asked
    kind = METRIC_DEFINITIONS.get(kind_of(name))
    return SHARE * abs(best) if kind is None or kind.margin is None else kind.margin


def alike(name: str, least: float) -> float:
    """Return the largest forgetting that still counts as equal to the least."""
    return least + max(SAME_FORGETTING * abs(least), margin_of(name, least))


def is_blind(name: str, values: Sequence[float]) -> bool:
    """Return True if the ``values`` of all candidates and the base are constant, or all near 0."""
    kind = METRIC_DEFINITIONS.get(kind_of(name))
    floor = kind.blind_below if kind is not None else None
    if floor is not None and max(values) < floor:
        return True
    return len(values) > 1 and len(set(values)) == 1
