"""Levels of tests that are made again and again while seeds come in.

Whoever looks after every round and stops at the first result that pleases errs more often than one
look would. The level is therefore spent over the looks (alpha spending, Lan & DeMets 1983, Biometrika
70:659): look r has 3/((r + 2)(r + 3)) of it. These shares sum to 1 over any number of looks, so by the
union bound no statement made at any look is false more often than the level says, whenever one stops
and however the next seeds were chosen. Looks are far apart, each at half as many runs again as the one
before, so that few are paid for: the "stitching" of Howard, Ramdas, McAuliffe & Sekhon 2021 (Ann. Stat.
49:1055).
"""

from __future__ import annotations

from harness.statistics.comparing.simultaneous import LEVEL

GROWTH = 1.5  # of the number of runs from look to look


def level_at(look: int, level: float = LEVEL) -> float:
    """Return the level of the tests at look 1, 2, ...; 0 is the only look there will ever be."""
    assert look >= 0
    return level * 3 / ((look + 2) * (look + 3)) if look else level


def is_due(runs: int, last: int) -> bool:
    """Return whether ``runs`` confirm runs are enough for a look, after one at ``last`` runs."""
    return runs >= GROWTH * last
