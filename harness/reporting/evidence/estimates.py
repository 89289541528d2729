"""Estimates of a score with its error, from the scores by seed and the per-example results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from harness.records import Measurement
from harness.reporting.evidence.folders.run_folder import FinishedTrial, read_items
from harness.statistics.comparing.comparisons import Comparisons
from harness.statistics.comparing.replicates import Replicates, from_scale, replicates, to_scale
from harness.statistics.comparing.simultaneous import reach
from harness.statistics.measurements.definitions import METRIC_DEFINITIONS, kind_of
from harness.statistics.scores import Array, aggregate, can_aggregate


@dataclass(frozen=True)
class Estimate:
    """Mean score over seeds with its 95 % interval over items and seeds, None if unknown.

    For a perplexity the mean is that of its logarithm, which ``replicates`` hold.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    n: int | None  # examples
    by_seed: tuple[float, ...]
    replicates: Replicates = field(repr=False, compare=False)


def shared_items(rows: Sequence[FinishedTrial]) -> dict[str, Array]:
    """Return measurement → (seeds, n, k), where every seed has statistics of the same shape."""
    by_seed = [read_items(row.folder) for row in rows]
    shared: dict[str, Array] = {}
    for name in by_seed[0] if by_seed else ():
        arrays = [items[name] for items in by_seed if name in items]
        same = len(arrays) == len(rows) and len({a.shape for a in arrays}) == 1
        if same and can_aggregate(name, arrays[0]):
            shared[name] = np.stack(arrays)
    return shared


def estimate(name: str, rows: Sequence[FinishedTrial], items: Mapping[str, Array]) -> Estimate:
    """Estimate a score from per-example results, or else from the recorded values.

    The interval uses this candidate alone; ``with_intervals`` pools the seed variance over all.
    """
    having = [row for row in rows if name in row.record.measurements]
    measured = [row.record.measurements[name] for row in having]
    seeds = tuple(row.record.seed for row in having)
    # With clustered items, per-item errors would be too small; the record has the clustered error.
    depend = any("|cluster" in m.signature for m in measured)
    found = None
    if name in items and len(having) == len(rows) and not depend:
        by_seed = aggregate(name, items[name])
        if np.isfinite(by_seed).all():
            found = replicates(name, items[name], seeds)
    if found is None:
        values = to_scale(name, np.array([m.value for m in measured]))
        found = Replicates(values, seeds, item_error=_recorded(name, measured))
    by_seed = tuple(from_scale(name, float(value)) for value in found.values)
    n = found.n or measured[0].n
    one = Estimate(name, from_scale(name, found.mean), None, None, n, by_seed, found)
    return _with(one, Comparisons([found], True).interval(0))


def with_intervals(estimates: Sequence[Estimate]) -> list[Estimate]:
    """Add intervals to estimates of one measurement. Seed spread is pooled over all candidates."""
    together = Comparisons([one.replicates for one in estimates], True)
    return [_with(one, together.interval(i)) for i, one in enumerate(estimates)]


def of_base(measured: Measurement, name: str, items: Array | None) -> Replicates:
    """Return the base's score, fixed over seeds, from its examples or its recorded interval."""
    if items is not None and can_aggregate(name, items):
        found = replicates(name, items[None], (0,))
        if found.influences is not None:
            return replace(found, fixed=True)
    value = to_scale(name, np.array([measured.value]))
    return Replicates(value, (0,), item_error=_recorded(name, [measured]), fixed=True)


def _recorded(name: str, measured: Sequence[Measurement]) -> float | None:
    """Return the standard error over items from recorded 95 % intervals; None if one is missing."""
    intervals = [to_scale(name, np.array(m.interval)) for m in measured if m.interval is not None]
    if len(intervals) < len(measured):
        return None
    halves = [(high - low) / 2 for low, high in intervals]
    return float(np.sqrt(np.mean(np.square(halves)))) / reach(1e6)


def _with(one: Estimate, interval: tuple[float, float] | None) -> Estimate:
    if interval is None:
        return replace(one, low=None, high=None)
    kind = METRIC_DEFINITIONS.get(kind_of(one.name))
    least, most = (-np.inf, np.inf) if kind is None else kind.span
    low, high = (float(np.clip(from_scale(one.name, end), least, most)) for end in interval)
    return replace(one, low=low, high=high)
