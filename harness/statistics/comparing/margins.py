"""Margins: how much worse is as good, and whether a score says anything at all.

A failed test is no equality (Altman & Bland 1995). To call a candidate as good as the best takes a
margin that was stated beforehand, and a bound that excludes more (non-inferiority; Wellek 2010, ch.
2). The defaults, in ``KINDS``, are what readers of the field do not care about: below 1 BLEU or 1
chrF point people rarely agree on the better system (Kocmi et al. 2024, arXiv:2401.06760); 1
percentage point of accuracy; 2 % of a perplexity, which is 0.02 nats a token.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.statistics.measurements.definitions import KINDS, kind_of

SHARE = 0.02  # of the value, where the kind has no margin of its own
FEWEST_ITEMS = 10  # below it, neither a jackknife nor a reader can tell anything
SAME_FORGETTING = 0.1  # relative


def margin_of(name: str, best: float, asked: float | None = None) -> float:
    """As asked for, else by the kind; ``best`` is the best one's value. Of a perplexity of its log."""
    if asked is not None:
        return asked
    kind = KINDS.get(kind_of(name))
    return SHARE * abs(best) if kind is None or kind.margin is None else kind.margin


def alike(name: str, least: float) -> float:
    """Forgetting up to this counts as the same as the least."""
    return least + max(SAME_FORGETTING * abs(least), margin_of(name, least))


def is_blind(name: str, values: Sequence[float]) -> bool:
    """Whether the ``values`` of all candidates and the base are constant, or all near 0."""
    kind = KINDS.get(kind_of(name))
    floor = kind.blind_below if kind is not None else None
    if floor is not None and max(values) < floor:
        return True
    return len(values) > 1 and len(set(values)) == 1
