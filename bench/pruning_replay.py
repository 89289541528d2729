"""Finished trials as a table in simulated time: what a pruner would have saved, and what it costs.

Nothing is trained: each trial's curve is read from its files and played again, evaluation by
evaluation, on any number of workers. Trials that were pruned when they ran have no end: they are left
out.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.records import Record, read_jsonl, read_record
from harness.search.pruning.asha import RungTable


@dataclass(frozen=True)
class Curve:
    """One finished trial: when it was evaluated, what that gave, and what it came to."""

    method: str
    fingerprint: str
    evaluations: tuple[tuple[float, Mapping[str, float]], ...]  # (seconds since its start, values)
    seconds: float  # of the whole trial
    final: Mapping[str, float]  # objective → value


@dataclass(frozen=True)
class End:
    """A trial that ended at ``time``, as a whole or stopped."""

    time: float
    curve: Curve
    whole: bool


def read_curves(folder: Path, objectives: Sequence[str]) -> list[Curve]:
    """Return the complete search trials of a sweep's folder, by number."""
    records = [(path, read_record(path)) for path in sorted(folder.glob("trials/*/*"))]
    complete = [
        (record.trial, record.method, path, record)
        for path, record in records
        if record is not None and record.stage == "search" and record.status == "complete"
    ]
    complete.sort(key=lambda each: each[:2])
    curves = [curve_of(record, path, objectives) for _, _, path, record in complete]
    return [curve for curve in curves if curve is not None]


def curve_of(record: Record, folder: Path, objectives: Sequence[str]) -> Curve | None:
    """None where an objective was not measured."""
    final = {name: record.value(name) for name in objectives}
    if None in final.values():
        return None
    rows = read_jsonl(folder / "metrics.jsonl")
    whole = sum(v for name, v in record.cost.items() if name.endswith("_seconds"))
    last = max((row["step"] for row in rows), default=1)
    evaluations = tuple(
        (whole * row["step"] / last, row["measurements"])
        for row in rows
        if row.get("kind") == "evaluation" and row["step"] and row.get("comparable", True)
    )
    known = {name: value for name, value in final.items() if value is not None}
    return Curve(record.method, record.fingerprint, evaluations, whole, known)


def replay(curves: Sequence[Curve], workers: int, rungs: RungTable | None = None) -> list[End]:
    """Play ``curves`` in their order on ``workers``; with ``rungs`` they are stopped as it says.

    What happens at the same time happens in the order in which the trials began.
    """
    waiting = list(enumerate(curves))[::-1]
    events: list[tuple[float, int, int, float, Any]] = []  # time, trial, evaluation, start, curve
    ends: list[End] = []

    def begin(now: float) -> None:
        if waiting:
            number, curve = waiting.pop()
            push(number, curve, 0, now)

    def push(number: int, curve: Curve, evaluation: int, start: float) -> None:
        over = evaluation >= len(curve.evaluations)
        at = curve.seconds if over else curve.evaluations[evaluation][0]
        heapq.heappush(events, (start + at, number, evaluation, start, curve))

    for _ in range(workers):
        begin(0.0)
    while events:
        now, number, evaluation, start, curve = heapq.heappop(events)
        whole = evaluation >= len(curve.evaluations)
        if not whole:
            values = curve.evaluations[evaluation][1]
            about = (curve.method, evaluation + 1, curve.fingerprint, values)
            if rungs is None or rungs.goes_on(*about):
                push(number, curve, evaluation + 1, start)
                continue
        ends.append(End(now, curve, whole))
        begin(now)
    return ends
