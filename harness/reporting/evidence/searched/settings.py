"""Searched settings of a method's trials, and the outcomes that their effects are estimated from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.records import Record
from harness.reporting.evidence.candidate_set import distinguishing
from harness.reporting.evidence.folders.run_folder import FinishedTrial, SweepRecords

INDEPENDENT = ("random", "grid", "qmc")  # samplers that do not look at outcomes


@dataclass(frozen=True)
class Searched:
    """Search trials of a method. A trial that was pruned, was infeasible or failed has no outcome."""

    method: str
    rows: tuple[FinishedTrial, ...]  # all search trials, in their order
    with_outcome: tuple[FinishedTrial, ...]  # complete or diverged
    settings: Mapping[str, list[Any]]  # of those, by dotted key, where all have a value

    def outcomes(self, objective: str, direction: str) -> list[float]:
        """Return the score of each trial with an outcome, more being better; a diverged one is last."""
        sign = 1.0 if direction == "maximize" else -1.0
        scores = [final_score(row.record, objective) for row in self.with_outcome]
        return [-math.inf if score is None else sign * score for score in scores]


def searched(run: SweepRecords, method: str) -> Searched:
    """Return the search trials of a method with the settings that differ between them."""
    rows = tuple(r for r in run.rows if r.record.method == method and r.record.stage != "confirm")
    told = tuple(row for row in rows if row.record.status in ("complete", "diverged"))
    settings = {
        path: values
        for path in distinguishing(told)
        if None not in (values := [row.settings.get(path) for row in told])
    }
    return Searched(method, rows, told, settings)


def final_score(record: Record, name: str) -> float | None:
    """Return the score of a complete trial; those of other trials are not comparable."""
    return record.value(name) if record.status == "complete" else None
