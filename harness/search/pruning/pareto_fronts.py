"""Incremental sorting of points into non-dominated fronts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class ParetoFronts:
    """Fronts of points to minimize, updated point by point; the non-dominated front comes first.

    Each new point joins the first front in which no point dominates it. The points that it
    dominates there move one front down, and so on (efficient non-dominated level update, Li et al.
    2017, arXiv:1503.01279). Equal points share a front. Sorting all points at once gives the same
    fronts (Deb et al. 2002, §III.A).
    """

    def __init__(self, objectives: int) -> None:
        self._points = np.empty((16, objectives))
        self._size = 0
        self._fronts: list[list[int]] = []

    def __len__(self) -> int:
        return self._size

    def add(self, losses: Sequence[float]) -> int:
        """Add a point and return the number of its front."""
        if self._size == len(self._points):
            self._points = np.concatenate([self._points, np.empty_like(self._points)])
        self._points[self._size] = losses
        newcomer = self._size
        self._size += 1
        place = self._first_without_a_better(newcomer)
        self._insert([newcomer], place)
        return place

    @property
    def fronts(self) -> list[list[int]]:
        """Return the indices of the points of each front, in order of insertion."""
        return self._fronts

    def before(self, place: int) -> int:
        """Return the number of points in the fronts before ``place``."""
        return sum(map(len, self._fronts[:place]))

    def front(self, place: int) -> NDArray[np.float64]:
        """Return the points of one front, of shape (points, objectives), in any order."""
        return self._points[self._fronts[place]]

    def _first_without_a_better(self, newcomer: int) -> int:
        """Return the front that a new point joins, by bisection.

        If a front has a point that dominates it, so has every earlier front.
        """
        point = self._points[newcomer]
        low, high = 0, len(self._fronts)
        while low < high:
            middle = (low + high) // 2
            if dominated_by(self._points[self._fronts[middle]], point).any():
                low = middle + 1
            else:
                high = middle
        return low

    def _insert(self, moving: list[int], place: int) -> None:
        while moving:
            if place == len(self._fronts):
                self._fronts.append(moving)
                return
            front = self._fronts[place]
            there = self._points[front]
            beaten = np.zeros(len(front), dtype=bool)
            for mover in moving:
                beaten |= dominates(self._points[mover], there)
            if beaten.all():  # the whole front moves down, with all fronts below it
                self._fronts.insert(place, moving)
                return
            stays = [index for index, lost in zip(front, beaten, strict=True) if not lost]
            self._fronts[place] = stays + moving
            moving = [index for index, lost in zip(front, beaten, strict=True) if lost]
            place += 1


def dominates(point: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return a mask: the rows of ``others`` nowhere better than ``point`` and somewhere worse."""
    return np.logical_and((point <= others).all(axis=1), (point < others).any(axis=1))


def dominated_by(others: NDArray[np.float64], point: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return a mask: the rows of ``others`` nowhere worse than ``point`` and somewhere better."""
    return np.logical_and((others <= point).all(axis=1), (others < point).any(axis=1))


def fronts(points: Sequence[Sequence[float]], directions: Sequence[str]) -> list[list[int]]:
    """Return the indices of (n, m) points by front, non-dominated first (Deb et al. 2002, §III.A)."""
    levels = ParetoFronts(len(directions))
    signs = [1.0 if way == "minimize" else -1.0 for way in directions]
    for point in points:
        levels.add([sign * value for sign, value in zip(signs, point, strict=True)])
    return [sorted(front) for front in levels.fronts]


def crowding(points: Sequence[Sequence[float]], front: Sequence[int]) -> dict[int, float]:
    """Return index → crowding distance within a front; infinite at its ends."""
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
    """Return all indices by front; within one, the best by the first objective, then by crowding."""
    sign = 1.0 if directions[0] == "minimize" else -1.0
    order = []
    for front in fronts(points, directions):
        distance = crowding(points, front)
        first = min(front, key=lambda i: (sign * points[i][0], i))
        rest = sorted((i for i in front if i != first), key=lambda i: (-distance[i], i))
        order += [first, *rest]
    return order
