"""A score with its interval, from the per-example results of all seeds of one configuration.

All resamples of one measurement draw the same examples for every configuration, so the difference
of two resampled scores is a paired bootstrap.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from harness.reporting.load import Row, read_items
from harness.statistics.resampling import (
    RESAMPLES,
    bootstrap_scores,
    draw_counts,
    percentile_interval,
)
from harness.statistics.scores import Array, aggregate, can_aggregate


@dataclass(frozen=True)
class Estimate:
    """A score with its 95 % interval; resamples is (B,) or None where there are no items."""

    name: str
    value: float
    low: float | None
    high: float | None
    n: int | None  # examples
    by_seed: tuple[float, ...]
    resamples: Array | None = field(default=None, repr=False, compare=False)


def shared_items(rows: Sequence[Row]) -> dict[str, Array]:
    """measurement -> (seeds, n, k), only where every seed has statistics of the same shape."""
    by_seed = [read_items(row.folder) for row in rows]
    shared: dict[str, Array] = {}
    for name in by_seed[0] if by_seed else ():
        arrays = [items[name] for items in by_seed if name in items]
        same = len(arrays) == len(rows) and len({a.shape for a in arrays}) == 1
        if same and can_aggregate(name, arrays[0]):
            shared[name] = np.stack(arrays)
    return shared


def estimate(
    seed: int,
    configuration: str,
    name: str,
    rows: Sequence[Row],
    items: Mapping[str, Array],
    counts: dict[int, Array],
) -> Estimate:
    """From the examples where they are there; else the mean of what the records say.

    ``counts`` holds the draws by number of examples, so that all who share it see the same ones.
    """
    measured = [row.record.measurements[name] for row in rows if name in row.record.measurements]
    # Where items depend on each other, drawing them one by one would claim too much.
    depend = any("|cluster" in m.signature for m in measured)
    statistics = items.get(name) if len(measured) == len(rows) and not depend else None
    if statistics is not None:
        by_seed = aggregate(name, statistics)
        if np.isfinite(by_seed).all():
            return _resampled(seed, configuration, name, statistics, by_seed, counts)
    values = tuple(m.value for m in measured)
    # An interval over items says nothing about seeds, so with several seeds it is not shown.
    interval = measured[0].interval if len(measured) == 1 else None
    low, high = interval or (None, None)
    return Estimate(name, float(np.mean(values)), low, high, measured[0].n, values)


def _resampled(seed, configuration, name, statistics, by_seed, counts) -> Estimate:
    seeds, n = statistics.shape[:2]
    if n not in counts:
        counts[n] = draw_counts(n, RESAMPLES, np.random.default_rng([seed, n]))
    rng = np.random.default_rng([seed, zlib.crc32(f"{name} {configuration}".encode())])
    seed_counts = draw_counts(seeds, RESAMPLES, rng)
    resamples = bootstrap_scores(name, statistics, counts[n], seed_counts)
    known = bool(np.isfinite(resamples).all()) and n > 1
    low, high = percentile_interval(resamples) if known else (None, None)
    return Estimate(
        name=name,
        value=float(by_seed.mean()),
        low=low,
        high=high,
        n=n,
        by_seed=tuple(map(float, by_seed)),
        resamples=resamples if known else None,
    )
