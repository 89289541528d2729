"""Forgetting at a given quality, read from trials that trade one for the other.

A method that is run at a high rate learns more and forgets more, so two methods compared at their best
differ in their rates too. Read at one quality instead, horizontally, they differ in the method alone:
Biderman et al. 2024, "LoRA Learns Less and Forgets Less", arXiv:2405.09673, §4.3, compare so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.statistics.scores import Array


@dataclass(frozen=True)
class AtQuality:
    """Forgetting of one method at one level of quality."""

    value: float | None  # None: no trial reaches the level
    low: float | None = None
    high: float | None = None  # infinite if too many resamples do not reach the level
    reached: float | None = None  # share of resamples that reach it; None: trials have no items


def least_forgetting(quality: Array, forgetting: Array, level: float) -> Array:
    """Return (...) the least forgetting at ``level`` from (..., n) trials; infinite above their best.

    More quality and less forgetting are better. It is linear between the two neighbours of the level
    on the front of trials that no other beats in both. Below the lowest quality on the front it is
    that trial's own forgetting.
    """
    above = quality >= level
    upper = np.where(above, forgetting, np.inf).min(axis=-1, keepdims=True)
    # Of trials that forget equally little the better one is on the front.
    q_upper = np.where(above & (forgetting == upper), quality, -np.inf).max(axis=-1, keepdims=True)
    below = ~above & (forgetting < upper)
    q_lower = np.where(below, quality, -np.inf).max(axis=-1, keepdims=True)
    lower = np.where(below & (quality == q_lower), forgetting, np.inf).min(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        between = lower + (level - q_lower) / (q_upper - q_lower) * (upper - lower)
    bounded = np.isfinite(q_lower) & np.isfinite(upper)
    return np.where(bounded, between, upper)[..., 0]


def at_quality(
    quality: Array, forgetting: Array, level: float, resampled: tuple[Array, Array] | None
) -> AtQuality:
    """Return the forgetting of (n,) trials at ``level``, with its 95 % percentile interval.

    ``resampled`` holds (B, n) qualities and forgettings of the same trials on other items. Each
    resample has its own front. One that does not reach the level counts as infinite forgetting.
    """
    found = float(least_forgetting(quality, forgetting, level))
    value = found if np.isfinite(found) else None
    if resampled is None:
        return AtQuality(value)
    drawn = np.sort(least_forgetting(*resampled, level))
    reached = float(np.isfinite(drawn).mean())
    if value is None:
        return AtQuality(None, reached=reached)
    last = len(drawn) - 1  # order statistics, as values may be infinite
    low, high = drawn[int(0.025 * last)], drawn[-1 - int(0.025 * last)]
    return AtQuality(value, float(low), float(high), reached)
