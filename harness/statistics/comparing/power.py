"""Gain from more items or more seeds, from the two parts of a difference's error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from harness.statistics.comparing.standard_errors import Error

LEVEL, POWER = 0.05, 0.8


def _reach() -> float:
    """z(1 − level/2) + z(power), 2.80: standard errors of a difference that is so found."""
    normal = NormalDist()
    return normal.inv_cdf(1 - LEVEL / 2) + normal.inv_cdf(POWER)


def minimal_detectable_difference(standard_error: float) -> float:
    """The true difference that a two-sided test at 5 % finds with probability 0.8 (Cohen 1988).

    ``standard_error`` is that of the paired difference.
    """
    return _reach() * standard_error


@dataclass(frozen=True)
class Needed:
    """Items or seeds needed to detect a difference, changing one and keeping the other."""

    binding: str  # 'items' or 'seeds': the larger part of the error
    items: int | None  # with the seeds as they are; None: no number of items would do
    seeds: (
        int | None
    )  # of each candidate, with the items as they are; None: no number of seeds would do


def needed(difference: float, error: Error, items: int, seeds: int) -> Needed:
    """From the error of a difference with ``items`` items and ``seeds`` seeds of each candidate.

    The items' variance falls with 1/items and the seeds' with 1/seeds, each by itself: where the other
    part alone is too large, no number helps. An advance estimate with as many degrees of freedom as
    one likes, so with two or three seeds in all it is on the low side.
    """
    assert difference > 0
    allowed = (difference / _reach()) ** 2
    of_items, of_seeds = error.items**2, error.seeds**2

    def number(now: int, own: float, other: float) -> int | None:
        if own + other <= allowed:
            return now
        return math.ceil(now * own / (allowed - other)) if other < allowed and own > 0 else None

    binding = "items" if of_items >= of_seeds else "seeds"
    return Needed(binding, number(items, of_items, of_seeds), number(seeds, of_seeds, of_items))
