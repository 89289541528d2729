"""Margins: how much worse still counts as equally good, and whether a score carries information.

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

SHARE = 0.02  # of the value, where the kind has no margin of its own
FEWEST_ITEMS = 10  # below it, neither a jackknife nor a reader can tell anything
SAME_FORGETTING = 0.1  # relative
# Measured on the same texts, and used in place of a score that carries no information. Bits per byte
# first: they need no common tokenizer. The loss is that of classes.
INSTEAD_OF_BLIND = ("bits_per_byte", "perplexity", "loss")


def margin_of(name: str, best: float, asked: float | None = None) -> float:
    """Return the configured margin, else the kind's at ``best``. For a perplexity, of its logarithm."""
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
