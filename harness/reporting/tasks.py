"""Change on tasks that were not trained for: gains, losses and whether they are chance."""

from __future__ import annotations

from dataclasses import dataclass

from harness.reporting.candidates import Candidate
from harness.statistics.resampling import mcnemar_exact


@dataclass(frozen=True)
class TaskResult:
    """One task (or all together) against the untouched base."""

    gains: float  # items wrong before and right after, mean over seeds
    losses: float
    p_value: float  # exact McNemar, the largest over seeds


def task_results(candidate: Candidate) -> dict[str, TaskResult]:
    """measurement -> result, where items [correct, base_correct] are there and are 0 or 1."""
    results = {}
    for name, statistics in candidate.items.items():
        if not name.startswith("forgetting.tasks") or statistics.shape[-1] != 2:
            continue
        if not ((statistics == 0) | (statistics == 1)).all():
            continue  # a graded score: McNemar does not apply
        after, before = statistics[..., 0], statistics[..., 1]  # (seeds, n)
        gains = ((after == 1) & (before == 0)).sum(axis=1)
        losses = ((after == 0) & (before == 1)).sum(axis=1)
        p_values = [
            mcnemar_exact(int(gain), int(loss)) for gain, loss in zip(gains, losses, strict=True)
        ]
        results[name] = TaskResult(float(gains.mean()), float(losses.mean()), max(p_values))
    return results
