"""The progress of a sweep as another process reads it from the sweep's folder."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from harness.errors import InputError
from harness.records import read_json, read_jsonl, read_record
from harness.records.heartbeat import NAME as HEARTBEAT
from harness.search.screen.live import head, screen, summary
from harness.search.screen.progress import (
    Planned,
    RunningTrial,
    SweepProgress,
    read_expected,
    settings_of,
)

PLANNING, RUNNING, ENDED, STOPPED = "planning", "running", "ended", "stopped"


@dataclass(frozen=True)
class Status:
    """State and progress of one sweep."""

    folder: Path
    state: str  # planning | running | ended | stopped
    owner: str | None  # of the lock, where it runs
    silent_seconds: float | None  # since a running trial last showed progress
    progress: SweepProgress
    report: str | None
    command: str | None  # that resumes it

    def to_json(self) -> dict[str, Any]:
        """Return the status for programs; what is not known is null."""
        progress, best = self.progress, self.progress.best()
        return {
            "folder": str(self.folder),
            "state": self.state,
            "owner": self.owner,
            "seconds_since_progress": self.silent_seconds,
            "seconds_left": progress.seconds_left() if self.state == RUNNING else None,
            "trials": {
                stage: {
                    "ended": progress.count(stage),
                    "planned": None if progress.budget else progress.total(stage) or None,
                }
                for stage in ("search", "confirm")
            },
            "budget": None
            if progress.budget is None
            else {
                "typed": progress.budget.text,
                "share_spent": progress.share_done,
            },
            "statuses": dict(progress.statuses()),
            "running": [
                {
                    "method": trial.method,
                    "stage": trial.stage,
                    "settings": trial.settings,
                    "step": trial.step,
                    "steps": trial.steps,
                    "loss": trial.loss,
                    "tokens_per_second": trial.tokens_per_second,
                }
                for trial in progress.running.values()
            ],
            "best": None if best is None else summary(best, progress),
            "report": self.report,
            "command": self.command,
        }

    def show(self) -> None:
        """Print the status as the live screen has it."""
        console = Console(highlight=False)
        names = {
            PLANNING: f"is being planned ({self.owner}): a few steps of each method are measured",
            RUNNING: f"is running ({self.owner})",
            ENDED: "has ended",
            STOPPED: "was stopped",
        }
        quiet = self.silent_seconds
        sign = f", last progress {quiet:.0f} s ago" if quiet is not None else ""
        console.print(f"{self.folder} {names[self.state]}{sign}", markup=False, soft_wrap=True)
        if self.state == RUNNING:
            console.print(screen(self.progress))
        elif self.state != PLANNING:
            console.print(head(self.progress), markup=False)
            best = self.progress.best()
            if best is not None and self.state == STOPPED:
                console.print(f"best so far: {summary(best, self.progress)}", markup=False)
        if self.report is not None:
            console.print(f"Report: {self.report}", markup=False, soft_wrap=True)
        if self.state == STOPPED and self.command is not None:
            console.print(f"Resume it: {self.command}", markup=False, soft_wrap=True)


def read_status(folder: Path) -> Status:
    """Read a sweep's folder, also while it is written. Raises InputError if it is none of a sweep."""
    owner = _owner(folder / "lock")
    if not (folder / "sweep.yaml").is_file():
        if owner is not None:
            return Status(folder, PLANNING, owner, None, SweepProgress({}), None, None)
        what = "no folder of a sweep" if folder.exists() else "no such folder"
        raise InputError(f"{folder}: {what}. Give one such as runs/NAME.")
    sweep = _sweep(folder)
    expected = read_expected(folder)
    report = expected.report
    progress = SweepProgress(
        dict(sweep.get("objectives") or {}),
        expected.planned or _planned(sweep),
        expected.workers,
        expected.budget if owner is not None and report is None else None,
    )
    signs = []
    for trial in sorted(folder.glob("trials/*/*")):
        record = read_record(trial)
        if record is not None:
            progress.end(record)
        elif owner is not None and (trial / HEARTBEAT).exists():
            progress.running[trial.parent.name, trial.name] = _running(trial)
            signs.append(_age(trial / HEARTBEAT))
    if progress.count("confirm") or any(r.stage == "confirm" for r in progress.running.values()):
        progress.stage = "confirm"
    state = RUNNING if owner is not None else ENDED if report is not None else STOPPED
    known = report if report is not None and (Path(report) / "index.html").is_file() else None
    silent = min(signs, default=None)
    return Status(folder, state, owner, silent, progress, known, sweep.get("command"))


def _sweep(folder: Path) -> Mapping[str, Any]:
    try:
        found = yaml.safe_load((folder / "sweep.yaml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def _planned(sweep: Mapping[str, Any]) -> dict[str, Planned]:
    """Return what sweep.yaml says, for a sweep that left no ``progress.json``."""
    search, confirm = sweep.get("search") or {}, sweep.get("confirm") or {}
    seeds: Any = confirm.get("seeds")
    n = len(seeds) if isinstance(seeds, list) else int(seeds or 0)
    each = Planned(int(search.get("trials") or 0), int(confirm.get("finalists") or 0) * n)
    return dict.fromkeys(sweep.get("methods") or (), each)


def _running(trial: Path) -> RunningTrial:
    spec = read_json(trial / "spec.json")
    spec = spec if isinstance(spec, dict) else {}
    config = spec.get("config") or {}
    running = RunningTrial(
        method=trial.parent.name,
        stage=str(config.get("stage") or "search"),
        settings=settings_of(config, spec.get("searched") or {}),
        steps=(config.get("training") or {}).get("max_steps"),
    )
    for row in read_jsonl(trial / "metrics.jsonl"):
        if isinstance(row, dict):
            running.move(row)
    return running


def _owner(lock: Path) -> str | None:
    """Return who holds the sweep's lock; None if nobody does."""
    try:
        with lock.open("r") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read().strip() or "another process"
    except OSError:
        return None
    return None


def _age(path: Path) -> float:
    try:
        return max(0.0, time.time() - path.stat().st_mtime)
    except OSError:
        return 0.0  # it ended just now
