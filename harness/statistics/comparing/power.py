"""Power: detectable differences, and the items or seeds needed to detect a given one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from harness.statistics.comparing.standard_errors import Error

LEVEL, POWER = 0.05, 0.8


def _reach() -> float:
    """Return z(1 − level/2) + z(power) = 2.80, the detectable difference in standard errors."""
    normal = NormalDist()
    return normal.inv_cdf(1 - LEVEL / 2) + normal.inv_cdf(POWER)


def minimal_detectable_difference(standard_error: float) -> float:
    """Return the true difference that a two-sided test at 5 % detects with probability 0.8.

    ``standard_error`` is that of the paired difference. Cohen 1988.
    """
    return _reach() * standard_error


@dataclass(frozen=True)
class Needed:
    """Items or seeds needed to detect a difference, changing one and keeping the other."""

    binding: str  # 'items' or 'seeds': the larger part of the error
    items: int | None  # with the present seeds; None if no number of items is enough
    seeds: int | None  # per candidate, with the present items; None if no number is enough


def needed(difference: float, error: Error, items: int, seeds: int) -> Needed:
    """Return the items or seeds needed, from the error of a difference with ``items`` and ``seeds``.

    The variance from items falls with 1/items, that from seeds with 1/seeds. If one part alone is too
    large, more of the other does not help. The estimate uses normal quantiles, so with two or three
    seeds in all it is too low.
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
