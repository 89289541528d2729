"""Sweeps without training: a launcher that makes measurements up, and one that runs in this process."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from harness.compose.command_line import compose_sweep
from harness.config import SweepConfig
from harness.launch.launcher import DISK_FULL, NO_ROOM, Ended
from harness.records import Measurement, Record, read_json, write_json, write_record
from harness.search.driver import Driver
from harness.search.screen.terminal import Terminal
from harness.search.sweep_folder import SweepFolder
from harness.trials.job import Job

# A real sweep of seconds.
SMALL = (
    "tracking=none",
    "launcher.threads=1",
    "launcher.measure=false",
    "data.train_limit=12",
    "data.validation_limit=4",
    "data.test_limit=4",
    "data.general_limit=2",
    "evaluation.task_folder=null",
    "evaluation.max_new_tokens=4",
    "evaluation.watched_examples=2",
    "evaluation.bootstrap_resamples=100",
    "training.warmup_steps=0",
)
CONTENT = ("model", "data")  # fingerprints of what is never loaded


@cache
def composed(*arguments: str) -> tuple[SweepConfig, dict[str, Any]]:
    """(sweep, {method: plan})."""
    sweep, plans = compose_sweep([*arguments, "tracking=none"])
    return sweep, {plan.method: plan for plan in plans}


def measurement(value: float, name: str = "") -> Measurement:
    return Measurement(value, "points", 4, None, f"made up {name}")


def quality_and_forgetting(config: dict[str, Any]) -> tuple[float, float]:
    """A landscape with a best rate and a price for rank; deterministic, different for each seed."""
    rate = math.log10(config["training"]["learning_rate"])
    rank = config["method"].get("r") or 1
    noise = int(hashlib.sha256(repr(config).encode()).hexdigest()[:4], 16) / 65536
    return 40 - 8 * (rate + 2.6) ** 2 + math.log2(rank) + noise, 0.05 * rank**0.5 + 0.01 * noise


def record_of(job: Job, **changes: Any) -> Record:
    config = asdict(job.config)
    quality, forgetting = quality_and_forgetting(config)
    split = "test" if job.config.stage == "confirm" else "validation"
    values = {f"{split}.bleu": quality, "forgetting.kl": forgetting}
    fields = dict(
        status="complete",
        stage=job.config.stage,
        method=job.config.method["name"],
        trial=job.trial,
        attempt=job.attempt,
        fingerprint=job.fingerprint,
        configuration=job.configuration,
        seed=job.config.seed,
        config=config,
        overrides=list(job.overrides),
        measurements={name: measurement(value, name) for name, value in values.items()},
        cost={"train_seconds": 1.0, "trainable_parameters": 10 * config["method"].get("r", 1)},
        provenance={"search_space": dict(job.searched)},
    )
    return Record(**{**fields, **changes})


class Killed(BaseException):
    """Stands for the driver being killed at a chosen moment."""


class FakeLauncher:
    """``slots`` tasks at a time; each poll ends the newest one, its trials with made-up records.

    ``fault(job)`` may answer "exits", "out of memory", "hangs", "disk full", "no room", ("rejects",
    message), ("record", changes), "killed before" the record is there, or "killed after" it.
    """

    def __init__(self, slots: int = 1, fault: Callable[[Job], Any] = lambda job: None) -> None:
        self.slots = self.measured_at_once = slots
        self.fault = fault
        self.submitted: list[Job] = []
        self.most = 0
        self.tasks: list[list[Job]] = []
        self._running: list[tuple[Path, Job]] = []  # of a pack its first

    sharing = 1

    @property
    def size(self) -> int:
        return self.slots

    def start(self) -> None: ...

    def close(self) -> None: ...

    def has_room(self) -> bool:
        return len(self._running) < self.slots

    def submit(self, folder: Path, spec: dict[str, Any]) -> None:
        assert self.has_room()
        specs = [spec]
        if spec.get("kind") == "pack":
            specs = [read_json(Path(trial) / "spec.json") or {} for trial in spec["trials"]]
        self.tasks.append([Job.from_json(one) for one in specs])
        self.submitted += self.tasks[-1]
        self._running.append((folder, self.tasks[-1][0]))
        self.most = max(self.most, len(self._running))

    def poll(self) -> list[Ended]:
        if not self._running:
            return []
        folder, first = self._running.pop()
        for job in next(task for task in self.tasks if task[0] is first):
            ended = self._end(folder, job)
            if ended is not None:
                return [ended]
        return [Ended(folder)]

    def _end(self, folder: Path, job: Job) -> Ended | None:
        """End a trial with its record, or its task by a fault."""
        match self.fault(job):
            case "exits":
                return Ended(folder, lost=-9)
            case "out of memory":
                return Ended(folder, lost=-9, oom_killed=True)
            case "disk full":
                return Ended(folder, lost=DISK_FULL)
            case "no room":
                return Ended(folder, lost=NO_ROOM)
            case "hangs":
                return Ended(folder, lost=-9, hung=5.0)
            case ("rejects", message):
                return Ended(folder, rejected=message)
            case ("record", changes):
                write_record(job.path, record_of(job, **changes))
            case "killed before":
                raise Killed
            case "killed after":
                write_record(job.path, record_of(job))
                raise Killed
            case None:
                write_record(job.path, record_of(job))
        return None


def drive(launcher: FakeLauncher, *arguments: str, needs: Any = None) -> list[Record]:
    """A driver from the command line to the last record, on a launcher that is not real."""
    sweep, plans = composed(*arguments)
    folder = SweepFolder(sweep)
    folder.open()
    try:
        driver = Driver(
            sweep,
            list(plans.values()),
            folder,
            launcher,
            Terminal(sweep),
            models={plan.method: CONTENT[0] for plan in plans.values()},
            data=CONTENT[1],
        )
        _ = driver._earlier  # as check() does, which has no worker to ask here
        return driver.run(needs)
    finally:
        folder._lock.close()


class InProcessLauncher:
    """The real worker's code without its process: what it costs is the trial itself."""

    pool: Any = None  # set by the fixture: the base that the test session holds

    def __init__(self, config: Any, cache: Path, logs: Path, lock: int) -> None:
        from harness.launch.worker import Worker

        self._worker = Worker("cpu", cache, os.getppid())
        self._worker.bench.pool = self.pool
        self._ended: list[Ended] = []

    size = sharing = measured_at_once = 1

    def start(self) -> None: ...

    def close(self) -> None: ...

    def has_room(self) -> bool:
        return not self._ended

    def submit(self, folder: Path, spec: dict[str, Any]) -> None:
        write_json(folder / "spec.json", spec)
        self._worker.run(folder)
        rejected = read_json(folder / "rejected.json")
        self._ended.append(Ended(folder, rejected=rejected and rejected["message"]))

    def poll(self) -> list[Ended]:
        ended, self._ended = self._ended, []
        return ended
