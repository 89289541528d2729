"""Change on tasks that were not trained for: gains, losses, agreement, and an exact test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.reporting.evidence.candidates import Candidate
from harness.statistics.clusters import mean_error
from harness.statistics.measurements.names import FORGETTING_TASKS
from harness.statistics.resampling import mcnemar_exact


@dataclass(frozen=True)
class TaskResult:
    """One task (or all together) against the untouched base."""

    base: float  # share of items that the base has right
    tuned: float  # mean over seeds
    standard_error: float | None  # of the change, mean over seeds; clustered where the record's is
    agreement: float  # share of items that both have right, or both wrong
    gains: float  # items wrong before and right after, mean over seeds
    losses: float
    p_value: float  # exact McNemar, the largest over seeds


def task_results(candidate: Candidate) -> dict[str, TaskResult]:
    """Return measurement → result, for tasks whose (seeds, n, 2) items are all 0 or 1."""
    results = {}
    for name, statistics in candidate.items.items():
        if not name.startswith(FORGETTING_TASKS) or statistics.shape[-1] != 2:
            continue
        if not ((statistics == 0) | (statistics == 1)).all():
            continue  # a graded score: McNemar does not apply
        after, before = statistics[..., 0], statistics[..., 1]  # (seeds, n)
        gains = ((after == 1) & (before == 0)).sum(axis=1)
        losses = ((after == 0) & (before == 1)).sum(axis=1)
        p_values = [
            mcnemar_exact(int(gain), int(loss)) for gain, loss in zip(gains, losses, strict=True)
        ]
        results[name] = TaskResult(
            base=float(before.mean()),
            tuned=float(after.mean()),
            standard_error=_error(candidate, name, after - before),
            agreement=float((after == before).mean()),
            gains=float(gains.mean()),
            losses=float(losses.mean()),
            p_value=max(p_values),
        )
    return results


def _error(candidate: Candidate, name: str, changes: np.ndarray) -> float | None:
    """Return the mean error over seeds, as recorded (clustered) or else from the items."""
    measured = [row.record.measurements.get(name) for row in candidate.rows]
    known = [m.standard_error for m in measured if m is not None and m.standard_error is not None]
    errors = known or [e for e in (mean_error(one) for one in changes) if e is not None]
    return float(np.mean(errors)) if errors else None
