"""Levels of tests that are repeated while further seeds finish (sequential testing).

Testing after every round and stopping at the first significant result inflates the error rate. The
level is therefore spent over the looks (alpha spending, Lan & DeMets 1983, Biometrika 70:659): look r
gets the share 3/((r + 2)(r + 3)). These shares sum to at most 1 over any number of looks. By the union
bound, the error rate over all looks is at most the level, for any stopping rule and any choice of the
next seeds. Each look comes at 1.5 times the runs of the one before, so that few looks share the level
("stitching", Howard, Ramdas, McAuliffe & Sekhon 2021, Ann. Stat. 49:1055).
"""

from __future__ import annotations

from harness.statistics.comparing.simultaneous import LEVEL

GROWTH = 1.5  # factor between the numbers of runs at successive looks


def level_at(look: int, level: float = LEVEL) -> float:
    """Return the level of the tests at look 1, 2, ...; look 0 means a single look with all of it."""
    assert look >= 0
    return level * 3 / ((look + 2) * (look + 3)) if look else level


def is_due(runs: int, last: int) -> bool:
    """Return True if ``runs`` confirm runs are enough for a look, after one at ``last`` runs."""
    return runs >= GROWTH * last
