"""Pareto front: the non-dominated points, and the hypervolume that they dominate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from harness.statistics.scores import Array

BEYOND = 0.1  # distance of the reference point from the nadir, as a share of the front's extent
MAXIMIZE, MINIMIZE = "maximize", "minimize"


def as_losses(points: ArrayLike, directions: Sequence[str]) -> Array:
    """Convert (n, d) points to (n, d) values to minimize."""
    signs = np.array([-1.0 if direction == MAXIMIZE else 1.0 for direction in directions])
    return np.asarray(points, dtype=float).reshape(-1, len(directions)) * signs


def front(points: ArrayLike, directions: Sequence[str]) -> list[int]:
    """Return the indices of the non-dominated rows of (n, d) points, ordered by the first objective.

    A point is dominated if another is at least as good everywhere and better somewhere. Of equal
    points on the front, all are kept.
    """
    losses = as_losses(points, directions)
    kept = [
        i
        for i, row in enumerate(losses)
        if not np.any(np.all(losses <= row, axis=1) & np.any(losses < row, axis=1))
    ]
    return sorted(kept, key=lambda i: tuple(losses[i]))


def hypervolume(points: ArrayLike, directions: Sequence[str], reference: Sequence[float]) -> float:
    """Return the volume between (n, d) points and the reference point, in the product of the units.

    Points that are not better than the reference in all objectives add nothing. The volume is summed
    by slices, which is fast for two objectives and for a few hundred points in three or four.
    """
    corner = as_losses([reference], directions)[0]
    losses = as_losses(points, directions)
    losses = losses[np.all(losses < corner, axis=1)]
    return _volume(losses, corner)


def reference_point(
    points: ArrayLike, directions: Sequence[str], base: Sequence[float | None] | None = None
) -> list[float]:
    """Return the reference point of ``hypervolume`` for (n, d) points: a tenth beyond their nadir.

    The nadir is the worst value on the front in each objective. A point beyond it lets the ends of the
    front count too (Ishibuchi et al. 2018, Evol. Comput. 26:411), and dominated trials do not move it.
    The untouched ``base`` is one of the points if it was measured in all objectives, because it costs
    nothing. In an objective in which the front has no extent, the worst of all points is used.
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
    """Return the volume dominated by (n, d) ``losses``, all of which are below ``corner``."""
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
