"""Pareto front: points that no other point beats in every objective, and the volume they cover."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from harness.statistics.scores import Array

BEYOND = 0.1  # of the front's extent: how far the corner of a volume lies behind it
MAXIMIZE, MINIMIZE = "maximize", "minimize"


def as_losses(points: ArrayLike, directions: Sequence[str]) -> Array:
    """(n, d) points -> (n, d) values to minimize."""
    signs = np.array([-1.0 if direction == MAXIMIZE else 1.0 for direction in directions])
    return np.asarray(points, dtype=float).reshape(-1, len(directions)) * signs


def front(points: ArrayLike, directions: Sequence[str]) -> list[int]:
    """Indices of the non-dominated rows of (n, d) points, in order of their first objective.

    A point is dominated if another is at least as good everywhere and better somewhere; equal
    points stay together.
    """
    losses = as_losses(points, directions)
    kept = [
        i
        for i, row in enumerate(losses)
        if not np.any(np.all(losses <= row, axis=1) & np.any(losses < row, axis=1))
    ]
    return sorted(kept, key=lambda i: tuple(losses[i]))


def hypervolume(points: ArrayLike, directions: Sequence[str], reference: Sequence[float]) -> float:
    """Volume between (n, d) points and the reference point, in the product of the units.

    Points that do not beat the reference in all objectives add nothing. By slices: quick for two
    objectives and for fronts of a few hundred points in three or four.
    """
    corner = as_losses([reference], directions)[0]
    losses = as_losses(points, directions)
    losses = losses[np.all(losses < corner, axis=1)]
    return _volume(losses, corner)


def reference_point(
    points: ArrayLike, directions: Sequence[str], base: Sequence[float | None] | None = None
) -> list[float]:
    """Return the corner of ``hypervolume`` for (n, d) points: a tenth beyond the worst of their front.

    A little beyond the nadir, so that the ends of the front count too (Ishibuchi et al. 2018, Evol.
    Comput. 26:411). A dominated trial cannot move it. The untouched ``base``, where it was measured in
    all objectives, belongs to the front: it can be had for nothing, so the corner lies at its quality
    and no trial that is worse in everything widens the field. Where the front has no extent, the worst
    of all points stands for it.
    """
    rows = np.asarray(points, dtype=float).reshape(-1, len(directions))
    if base is not None and None not in base:
        rows = np.vstack([rows, np.array(base, dtype=float)])
    losses = as_losses(rows, directions)
    best = losses[front(rows, directions)]
    ideal, nadir = best.min(axis=0), best.max(axis=0)
    nadir = np.where(nadir > ideal, nadir, losses.max(axis=0))
    corner = nadir + BEYOND * (nadir - ideal)
    return [float(value) for value in as_losses([corner], directions)[0]]


def _volume(losses: Array, corner: Array) -> float:
    """Return the volume dominated by ``losses``, all of them below ``corner``."""
    if len(losses) == 0:
        return 0.0
    if len(corner) == 1:
        return float(corner[0] - losses.min())
    if len(corner) == 2:
        area, ceiling = 0.0, corner[1]
        for first, second in sorted(map(tuple, losses)):
            if second < ceiling:
                area += (corner[0] - first) * (ceiling - second)
                ceiling = second
        return float(area)
    volume = 0.0
    heights = np.unique(losses[:, -1])
    for low, high in zip(heights, [*heights[1:], corner[-1]], strict=True):
        slab = losses[losses[:, -1] <= low, :-1]
        volume += (high - low) * _volume(slab, corner[:-1])
    return float(volume)
