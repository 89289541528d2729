"""Parts of a search space in which no trial has run, one setting at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from harness.config.search_space import Choice, Interval, Space

WIDE = 1 / 3  # of a range


def untried(space: Space, trials: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the first setting of which a third of the range, or a choice, has not been tried.

    ``trials`` are values by dotted key. Combinations of settings are not looked at. Returns None if
    every range and choice is covered.
    """
    for key, dimension in space.items():
        values = [trial[key] for trial in trials]
        if isinstance(dimension, Choice):
            if any(value not in values for value in dimension.values):
                return key
        elif widest_gap(dimension, values) > WIDE:
            return key
    return None


def widest_gap(interval: Interval, values: Sequence[float]) -> float:
    """Return the widest part of ``interval`` without any of ``values``, as a share of it, from 0 to 1.

    On the interval's own scale. An integer covers half a step to either side.
    """
    scale = math.log if interval.log else float
    half = interval.step / 2 if interval.integer else 0.0
    low, high = scale(interval.low - half), scale(interval.high + half)
    widest, tried = 0.0, low
    for value in sorted(values):
        widest = max(widest, scale(value - half) - tried)
        tried = scale(value + half)
    return max(widest, high - tried) / (high - low) if high > low else 0.0
