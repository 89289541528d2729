"""Running trials: submitted, followed, and restarted if their worker crashed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import yaml

from harness.config import SweepConfig
from harness.errors import DiskFull, InputError
from harness.language import recorded
from harness.launch.launcher import DISK_FULL, NO_ROOM, Ended, Launcher
from harness.records import (
    Record,
    append_jsonl,
    read_jsonl,
    read_record,
    write_record,
    write_text,
)
from harness.records.disk_full import stopped
from harness.records.disk_usage import tidy
from harness.search.planning.needs import MethodMemory
from harness.search.pruning.running_curves import Curve, Curves
from harness.search.sweep_folder import SweepFolder
from harness.search.watcher import Watcher
from harness.trials.job import Job

POLL_SECONDS = 0.03
LOST = "lost.jsonl"  # in a trial's folder: one line for each worker that crashed
NO_ROOM_REASON = recorded(
    "out of memory on one of the trial's devices; with launcher.sharding=fsdp a step is not taken "
    "anew in smaller micro-batches: lower training.batch_size and raise "
    "training.gradient_accumulation_steps by as much"
)


class RunningTrials:
    """Trials between submission and record. Its truth value is whether there are any."""

    def __init__(
        self, sweep: SweepConfig, folder: SweepFolder, launcher: Launcher, watcher: Watcher
    ) -> None:
        self.needs: Mapping[str, MethodMemory] = {}  # memory by method
        self._sweep, self._launcher, self._watcher = sweep, launcher, watcher
        self._running: dict[Path, Curve] = {}
        self._left_out: list[tuple[Job, Record]] = []  # recorded without being started
        self._curves = Curves(sweep, folder, watcher.moved)

    def __bool__(self) -> bool:
        return bool(self._running or self._left_out)

    def submit(self, job: Job) -> None:
        """Submit a trial, or record it as infeasible if it is known not to fit into memory."""
        job.path.mkdir(parents=True, exist_ok=True)
        dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # four times faster, if installed
        text = yaml.dump(asdict(job.config), Dumper=dumper, sort_keys=False, allow_unicode=True)
        write_text(job.path / "config.yaml", text)  # for reading; spec.json holds the same
        if self._does_not_fit(job):
            return
        job = replace(
            job, attempt=1 + len(read_jsonl(job.path / LOST))
        )  # includes attempts of earlier drivers
        self._running[job.path] = Curve(job)
        self._launcher.submit(job.path, job.to_json())
        self._watcher.started(job)

    def _does_not_fit(self, job: Job) -> bool:
        """Return whether a trial is known not to fit. If so, it is recorded without being started."""
        why = self.needs[job.method].too_large(asdict(job.config))
        if why is None or job.config.stage != "search":
            return False
        record = job.record("infeasible", reason=recorded("not begun: {why}", why=why))
        write_record(job.path, record)
        self._left_out.append((job, record))
        return True

    def ended(self) -> Iterator[tuple[Job, Record]]:
        """Answer trials that ask the pruner, then yield finished trials with their records."""
        while self._left_out:
            job, record = self._left_out.pop()
            self._watcher.ended(record)
            yield job, record
        for running in self._running.values():
            self._curves.follow(running)
        polled = self._launcher.poll()
        for end in polled:
            running = self._running.pop(end.folder)
            if end.rejected is not None:
                raise InputError(end.rejected)
            record = read_record(end.folder)
            if record is None:
                record = self._lost(running, end)
            if record is not None:
                self._watcher.ended(record)
                yield running.job, record
        if not polled:
            time.sleep(POLL_SECONDS)

    def _lost(self, running: Curve, end: Ended) -> Record | None:
        """Restart a trial whose worker crashed from its checkpoint, at most ``retries`` times."""
        job = running.job
        if end.lost == DISK_FULL:
            raise DiskFull(stopped(job.path))
        if end.lost == NO_ROOM:
            return self._given_up(job, job.record("infeasible", reason=NO_ROOM_REASON))
        why = recorded("with exit code {code}", code=end.lost)
        if end.lost == -9:  # a system that is out of memory sends SIGKILL too
            why = recorded(
                "with exit code {code} (killed by hand, with its node, or because memory ran out)",
                code=end.lost,
            )
        if end.oom_killed:
            why = recorded("killed by the system, which had no memory left")
        if end.hung is not None:
            why = recorded("killed because it hung: no progress for {n:g} minutes", n=end.hung)
        append_jsonl(job.path / LOST, [{"attempt": job.attempt, "worker exited": why}])
        if job.attempt > self._sweep.launcher.retries:
            reason = recorded(
                "its worker exited {n} times, the last time {why}", n=job.attempt, why=why
            )
            status = "infeasible" if end.oom_killed else "failed"
            return self._given_up(job, job.record(status, reason=reason))
        self.submit(job)
        return None

    def _given_up(self, job: Job, record: Record) -> Record:
        write_record(job.path, record)
        tidy(job.path)
        return record
