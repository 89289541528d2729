"""Curves of running trials: new rows are read, and trials that ask the pruner are answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from harness.config import SweepConfig
from harness.records import read_jsonl, write_json
from harness.search.pruning.asha import RungTable
from harness.search.sweep_folder import SweepFolder
from harness.trials.job import Job


@dataclass
class Curve:
    """A running trial, and how much of its curve was read."""

    job: Job
    bytes_read: int = 0
    decided: set[int] = field(default_factory=set)


class Curves:
    """Reads ``metrics.jsonl`` of a trial when it has grown, and writes ``decision-STEP.json``."""

    def __init__(
        self,
        sweep: SweepConfig,
        folder: SweepFolder,
        moved: Callable[[Job, dict[str, Any]], None],
    ) -> None:
        self._moved = moved
        self._rungs = RungTable(
            folder.path / "rungs.jsonl",
            sweep.objectives,
            sweep.search.reduction_factor,
            sweep.search.grace_evaluations,
            sweep.search.tie_break,
            sweep.confirm.margin,
        )

    def follow(self, curve: Curve) -> None:
        """Read new rows of a curve, report them, and answer the trial if it asks the pruner."""
        path = curve.job.path / "metrics.jsonl"
        size = path.stat().st_size if path.exists() else 0
        if size == curve.bytes_read:
            return
        curve.bytes_read = size
        rows = read_jsonl(path)
        if not rows:
            return  # the rows of a lost attempt were removed
        self._moved(curve.job, rows[-1])
        if curve.job.asks_pruner:
            self._answer(curve, rows)

    def _answer(self, curve: Curve, rows: list[dict[str, Any]]) -> None:
        # The evaluation before training does not count.
        evaluations = [row for row in rows if row.get("kind") == "evaluation" and row["step"]]
        for number, row in enumerate(evaluations, start=1):
            step = row["step"]
            if step in curve.decided:
                continue
            curve.decided.add(step)
            if not row.get("comparable", True):
                continue  # the method is not comparable yet; the trial does not wait
            job, values = curve.job, row["measurements"]
            go, standing = self._rungs.decide(job.method, number, job.fingerprint, values)
            details = {} if standing is None else {"standing": asdict(standing)}
            write_json(job.path / f"decision-{step}.json", {"go": go, **details})
