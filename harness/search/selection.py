"""Which configurations go on: non-dominated sorting, and the finalists of a method."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.config import SweepConfig
from harness.records import Record
from harness.search.levels import Levels
from harness.search.limits import excesses


def fronts(points: Sequence[Sequence[float]], directions: Sequence[str]) -> list[list[int]]:
    """Indices of (n, m) points by front, the non-dominated first (Deb et al. 2002, §III.A)."""
    levels = Levels(len(directions))
    signs = [1.0 if way == "minimize" else -1.0 for way in directions]
    for point in points:
        levels.add([sign * value for sign, value in zip(signs, point, strict=True)])
    return [sorted(front) for front in levels.fronts]


def crowding(points: Sequence[Sequence[float]], front: Sequence[int]) -> dict[int, float]:
    """How far the neighbours of each point of a front are; infinite at its ends."""
    distance = dict.fromkeys(front, 0.0)
    for m in range(len(points[0])):
        ordered = sorted(front, key=lambda i: (points[i][m], i))
        low, high = points[ordered[0]][m], points[ordered[-1]][m]
        distance[ordered[0]] = distance[ordered[-1]] = math.inf
        if high > low:
            for before, i, after in zip(ordered, ordered[1:], ordered[2:], strict=False):
                distance[i] += (points[after][m] - points[before][m]) / (high - low)
    return distance


def best_first(points: Sequence[Sequence[float]], directions: Sequence[str]) -> list[int]:
    """All indices: by front, within a front the best by the first objective, then the lonely ones."""
    sign = 1.0 if directions[0] == "minimize" else -1.0
    order = []
    for front in fronts(points, directions):
        distance = crowding(points, front)
        first = min(front, key=lambda i: (sign * points[i][0], i))
        rest = sorted((i for i in front if i != first), key=lambda i: (-distance[i], i))
        order += [first, *rest]
    return order


def finalists(records: Sequence[Record], sweep: SweepConfig) -> list[Record]:
    """The configurations of one method to confirm, from its validation measurements alone.

    Of the complete trials that keep all limits: the best by quality, then others of the front, the
    least crowded first.
    """
    names = list(sweep.objectives)
    usable = [
        record
        for record in sorted(records, key=lambda record: (record.trial, record.fingerprint))
        if record.status == "complete"
        and all(record.value(name) is not None for name in names)
        and all(excess <= 0 for excess in excesses(record, sweep).values())
    ]
    if not usable:
        return []
    points = [[record.value(name) or 0.0 for name in names] for record in usable]
    ranked = best_first(points, list(sweep.objectives.values()))
    return [usable[i] for i in ranked[: sweep.confirm.finalists]]
