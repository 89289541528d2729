"""Running trials: submitted one by one or in packs, followed, and restarted if their worker crashed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
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
    write_json,
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
    """Trials between submission and record. Its truth value is whether there are any.

    A task has one trial, and the trial's folder, or several that a worker trains together.
    """

    def __init__(
        self, sweep: SweepConfig, folder: SweepFolder, launcher: Launcher, watcher: Watcher
    ) -> None:
        self.needs: Mapping[str, MethodMemory] = {}  # memory by method
        self._sweep, self._launcher, self._watcher = sweep, launcher, watcher
        self._packs = folder.packs
        self._running: dict[Path, list[Curve]] = {}  # the trials of each task, by its folder
        self._again: list[Job] = []  # lost with their worker, to be submitted again
        self._left_out: list[tuple[Job, Record]] = []  # recorded without being started
        self._curves = Curves(sweep, folder, watcher.moved)

    def __bool__(self) -> bool:
        return bool(self._running or self._left_out or self._again)

    def has_room(self) -> bool:
        """Return whether a worker is idle, after lost trials were submitted again."""
        while self._again and self._launcher.has_room():
            self.submit([self._again.pop(0)])
        return not self._again and self._launcher.has_room()

    def submit(self, jobs: Sequence[Job]) -> None:
        """Submit trials as one task; those that are known not to fit are recorded as infeasible."""
        begun = [self._begun(job) for job in jobs if not self._does_not_fit(job)]
        if not begun:
            return
        folder, spec = begun[0].path, begun[0].to_json()
        if len(begun) > 1:
            for job in begun:
                write_json(job.path / "spec.json", job.to_json())
            folder = self._packs / begun[0].fingerprint
            spec = {"kind": "pack", "trials": [job.folder for job in begun]}
        self._running[folder] = [Curve(job) for job in begun]
        self._launcher.submit(folder, spec)
        for job in begun:
            self._watcher.started(job)

    def _begun(self, job: Job) -> Job:
        """Write the configuration of a trial for reading, and return it with its attempt."""
        job.path.mkdir(parents=True, exist_ok=True)
        dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # four times faster, if installed
        text = yaml.dump(asdict(job.config), Dumper=dumper, sort_keys=False, allow_unicode=True)
        write_text(job.path / "config.yaml", text)  # for reading; spec.json holds the same
        lost = len(read_jsonl(job.path / LOST))  # includes attempts of earlier drivers
        return replace(job, attempt=1 + lost)

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
            for curve in running:
                self._curves.follow(curve)
        polled = self._launcher.poll()
        for end in polled:
            running = self._running.pop(end.folder)
            if end.rejected is not None:
                raise InputError(end.rejected)
            for curve in running:
                record = read_record(curve.job.path)
                if record is None:
                    record = self._lost(curve.job, end, alone=len(running) == 1)
                if record is not None:
                    self._watcher.ended(record)
                    yield curve.job, record
        if not polled:
            time.sleep(POLL_SECONDS)

    def _lost(self, job: Job, end: Ended, *, alone: bool) -> Record | None:
        """Have a trial whose worker crashed go on from its checkpoint, at most ``retries`` times.

        After a pack it goes on alone, since another trial may have been the cause.
        """
        if end.lost == DISK_FULL:
            raise DiskFull(stopped(end.folder))
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
        if alone and job.attempt > self._sweep.launcher.retries:
            reason = recorded(
                "its worker exited {n} times, the last time {why}", n=job.attempt, why=why
            )
            status = "infeasible" if end.oom_killed else "failed"
            return self._given_up(job, job.record(status, reason=reason))
        self._again.append(job)
        return None

    def _given_up(self, job: Job, record: Record) -> Record:
        write_record(job.path, record)
        tidy(job.path)
        return record
