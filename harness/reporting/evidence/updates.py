"""Update analyses of the finalists, as their trials left them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from harness.records import Measurement, Outcome, read_json
from harness.reporting.evidence.candidates import Candidate, CandidateSet
from harness.reporting.evidence.folders.run_folder import FinishedTrial
from harness.reporting.evidence.ranking import ranked

UPDATE = "update"  # outcome of the analysis, which makes no other model
SPEED = "speed"  # outcome of the speed of generation, which makes none either


BETWEEN = "interpolated "


NUMBERS = ("drift", "effective_rank", "stable_rank", "amplification", "overlap", "intruders")


@dataclass(frozen=True)
class Finalist:
    """A candidate, with the trial whose model was kept for the steps after training."""

    candidate: Candidate
    row: FinishedTrial

    @property
    def outcomes(self) -> Mapping[str, Outcome]:
        return self.row.record.afterwards


def looked_at_again(candidates: CandidateSet) -> list[Finalist]:
    """Return the finalists with steps after training, in the order of the leader board."""
    return [one for one in with_outcomes(candidates) if one.outcomes.keys() - {SPEED}]


def with_outcomes(candidates: CandidateSet) -> list[Finalist]:
    """Return the finalists with steps after training or a speed of generation, in the same order."""
    return [
        Finalist(candidate, row)
        for candidate in ranked(candidates)
        for row in candidate.rows
        if row.record.afterwards
    ]


def read_update(row: FinishedTrial) -> list[dict[str, Any]]:
    """Return the matrices of ``update.json``; [] if the file is missing or unreadable."""
    data = read_json(row.folder / "update.json")
    found = data.get("matrices") if isinstance(data, dict) else None
    needed = ("kind", "layer", "singular_values", "leading", *NUMBERS)
    return [
        matrix
        for matrix in (found if isinstance(found, list) else [])
        if isinstance(matrix, dict) and all(key in matrix for key in needed)
    ]


class PathPoint(NamedTuple):
    """Scores of a model between the base and the tuned one."""

    share: float  # of the tuned weights
    quality: float
    forgetting: float


def path_of(finalist: Finalist, quality: str, forgetting: str) -> list[PathPoint]:
    """Return the points from base to tuned weights; [] if none lies strictly between."""
    record, outcomes = finalist.row.record, finalist.outcomes
    at: dict[float, Mapping[str, Measurement]] = {
        float(name.removeprefix(BETWEEN)): outcome.measurements
        for name, outcome in outcomes.items()
        if name.startswith(BETWEEN)
    }
    if not any(0 < share < 1 for share in at):
        return []
    if "merged" in outcomes:
        at.setdefault(1.0, outcomes["merged"].measurements)
    points = [
        PathPoint(share, quality=measured[quality].value, forgetting=measured[forgetting].value)
        for share, measured in at.items()
        if quality in measured and forgetting in measured
    ]
    if 0.0 not in at and quality in record.base:
        points.append(PathPoint(0.0, quality=record.base[quality].value, forgetting=0.0))
    return sorted(points)
