"""Workers on this machine: one process per visible GPU, or one on a CPU. Each keeps its base loaded.

With ``devices_per_trial`` a worker has several GPUs, and starts one more process for each further
GPU.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.config import LauncherConfig
from harness.config.strict import require
from harness.errors import InputError
from harness.launch import forking
from harness.launch.forking import ForkedProcess
from harness.launch.host import oom_kills, visible_devices
from harness.launch.launcher import DISK_FULL, NO_ROOM, Ended
from harness.launch.libraries import library_environment
from harness.records import heartbeat, read_json, write_json
from harness.records.heartbeat import STEP_SECONDS, grace_seconds

ANSWERS = ("record.json", "answer.json", "rejected.json")
PAUSED_SECONDS = 60.0  # between two polls; if longer, this process was suspended
DUMP_SECONDS = 0.5  # for a hung worker to write its stack
# Killed, asked to stop, or out of disk space.
NO_FAULT_OF_THE_DEVICE = (-signal.SIGKILL, -signal.SIGTERM, 75, DISK_FULL, NO_ROOM)
MOST_ON_A_CORE = 8  # threads, or processes of one trial on a CPU
LOST_AFTER = 2  # consecutive crashes after which the device is considered faulty

Process = subprocess.Popen[str] | ForkedProcess


@dataclass
class _Worker:
    device: str
    environment: dict[str, str]
    process: Process | None = None
    folder: Path | None = None  # of the current task
    sign: int | None = None  # modification time of the heartbeat file
    since: float = 0.0  # when that changed, in seconds of the monotonic clock
    crashed_during: set[Path] = field(default_factory=set)  # crashes since its last finished task


class LocalLauncher:
    """Runs tasks in worker processes, which receive only the names of task folders."""

    def __init__(self, config: LauncherConfig, cache: Path, logs: Path, lock: int) -> None:
        self._config, self._cache, self._logs = config, cache, logs
        self._lock = lock  # inherited by workers: no second driver starts while one of them writes
        devices = visible_devices() if config.devices is None else config.devices
        k = config.devices_per_trial
        slots = [devices[at : at + k] for at in range(0, len(devices) - k + 1, k)]
        n = config.workers or max(1, len(slots))
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        self._threads = config.threads or max(1, (cores or 1) // (n * k))
        self._n_slots, self._on_a_cpu = max(1, len(slots)), not slots
        self._polled = time.monotonic()
        self._oom_kills = oom_kills()
        self._workers = []
        for index in range(n):
            environment = library_environment() | {"OMP_NUM_THREADS": str(self._threads)}
            # One worker tokenizes while the others wait for its result, so it has the threads of all.
            environment |= {
                "TOKENIZERS_PARALLELISM": "true",
                "RAYON_NUM_THREADS": str(self._threads * n),
            }
            device = "cpu"
            if slots:  # if there are more workers than devices, several share one
                own = slots[index % len(slots)]
                environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, own))
                device = "cuda:0"
            self._workers.append(_Worker(device, environment))
        logs.mkdir(parents=True, exist_ok=True)

    @property
    def size(self) -> int:
        return len(self._workers)

    @property
    def sharing(self) -> int:
        return -(-len(self._workers) // self._n_slots)

    @property
    def measured_at_once(self) -> int:
        """Return all workers on a CPU, as trials share it; of those that share a GPU one."""
        return len(self._workers) if self._on_a_cpu else min(len(self._workers), self._n_slots)

    def start(self) -> None:
        """Start all workers, so that their imports are done before the first task."""
        for worker in self._workers:
            self._ensure(worker)

    def has_room(self) -> bool:
        return bool(self._idle())

    def _idle(self) -> list[_Worker]:
        """Return the workers that can accept a task.

        Devices whose workers keep crashing are skipped as long as another device works. A faulty
        GPU fails at once, and would use up the attempts of every trial.
        """
        lost = [worker for worker in self._workers if len(worker.crashed_during) >= LOST_AFTER]
        given_up = lost if len(lost) < len(self._workers) else []
        return [w for w in self._workers if w.folder is None and w not in given_up]

    def submit(self, folder: Path, spec: dict[str, Any]) -> None:
        """Give a task to an idle worker, after deleting the answers of earlier attempts."""
        worker = min(self._idle(), key=lambda worker: len(worker.crashed_during))
        for name in ANSWERS:
            (folder / name).unlink(missing_ok=True)
        write_json(folder / "spec.json", spec)
        (folder / heartbeat.NAME).unlink(missing_ok=True)
        process = self._ensure(worker)
        worker.folder, worker.sign, worker.since = folder, None, time.monotonic()
        assert process.stdin is not None
        try:
            process.stdin.write(f"{folder}\n")
            process.stdin.flush()
        except BrokenPipeError:
            pass  # it exited while idle: poll() reports it

    def poll(self) -> list[Ended]:
        """Return the tasks that ended since the last call."""
        ended, before, self._polled = [], self._polled, time.monotonic()
        if self._polled - before > PAUSED_SECONDS:
            for worker in self._workers:
                worker.since = self._polled
        for worker in self._workers:
            folder = worker.folder
            if folder is None:
                continue
            exited = worker.process is None or worker.process.poll() is not None
            if any((folder / name).exists() for name in ANSWERS):
                rejected = read_json(folder / "rejected.json")
                message = None if rejected is None else rejected["message"]
                (folder / "rejected.json").unlink(missing_ok=True)
                ended.append(Ended(folder, rejected=message))
                worker.crashed_during.clear()
            elif exited:
                code = worker.process.returncode if worker.process is not None else -1
                kills, self._oom_kills = self._oom_kills, oom_kills()
                oom_killed = code == -signal.SIGKILL and self._oom_kills > kills
                ended.append(Ended(folder, lost=code, oom_killed=oom_killed))
                if code not in NO_FAULT_OF_THE_DEVICE:
                    self._note_crash(worker, folder)
            elif self._hangs(worker, folder):
                self._kill(worker)
                ended.append(Ended(folder, lost=-9, hung=self._config.heartbeat_minutes))
            else:
                continue
            worker.folder = None
            if self._config.isolate:
                self._end(worker)
        return ended

    def _note_crash(self, worker: _Worker, folder: Path) -> None:
        worker.crashed_during.add(folder)
        if len(worker.crashed_during) == LOST_AFTER and len(self._workers) > 1:
            number, device = self._workers.index(worker), "a CPU"
            if worker.device != "cpu":
                device = f"GPU {worker.environment['CUDA_VISIBLE_DEVICES']}"
            print(
                f"Worker {number} on {device} exited during {LOST_AFTER} tasks in a row: it gets no "
                f"more while other devices work. See {self._logs}/worker-{number}.log",
                file=sys.stderr,
            )

    def _hangs(self, worker: _Worker, folder: Path) -> bool:
        """Return whether there was no heartbeat for ``heartbeat_minutes``."""
        try:
            sign = (folder / heartbeat.NAME).stat().st_mtime_ns
        except OSError:
            sign = None
        if sign != worker.sign:
            worker.sign, worker.since = sign, time.monotonic()
        minutes = self._config.heartbeat_minutes
        return minutes is not None and time.monotonic() - worker.since > 60 * minutes

    def _kill(self, worker: _Worker) -> None:
        """Kill a hung worker after it has had time to write its stack to its log."""
        process, worker.process = worker.process, None
        assert process is not None
        _signal_all(process, signal.SIGUSR1)
        time.sleep(DUMP_SECONDS)
        _signal_all(process, signal.SIGKILL)
        process.wait()
        _end_input(process)

    def close(self) -> None:
        """Stop all workers. A worker on a trial first writes a checkpoint."""
        for worker in self._workers:
            if worker.process is not None and worker.process.poll() is None:
                worker.process.send_signal(signal.SIGTERM)
                _end_input(worker.process)  # idle ones exit, all at the same time
        until = time.monotonic() + grace_seconds(worker.folder for worker in self._workers)
        for worker in self._workers:
            self._end(worker, max(0.1, until - time.monotonic()))
        forking.close()

    def _ensure(self, worker: _Worker) -> Process:
        if worker.process is not None and worker.process.poll() is None:
            return worker.process
        if (
            worker.process is not None
        ):  # its children must not keep memory that the next worker needs
            _signal_all(worker.process, signal.SIGKILL)
        number = self._workers.index(worker)
        arguments = [
            *("--device", worker.device),
            *("--cache", str(self._cache)),
            *("--threads", str(self._threads)),
            *("--driver", str(os.getpid())),
            *("--devices-per-trial", str(self._config.devices_per_trial)),
            *("--sharding", self._config.sharding),
        ]
        with (self._logs / f"worker-{number}.log").open("ab") as log:
            if self._on_a_cpu and self._config.devices_per_trial == 1:
                files = (log.fileno(), self._lock)
                worker.process = forking.fork(arguments, worker.environment, *files)
                if worker.process is not None:
                    return worker.process
            worker.process = subprocess.Popen(
                [sys.executable, "-m", "harness.launch.worker", *arguments],
                pass_fds=(self._lock,),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=worker.environment,
                text=True,
                start_new_session=True,  # the driver handles Ctrl-C and stops the workers in order
            )
        return worker.process

    def _end(self, worker: _Worker, seconds: float = STEP_SECONDS) -> None:
        process, worker.process = worker.process, None
        if process is None:
            return
        _end_input(process)
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            _signal_all(process, signal.SIGKILL)
            process.wait()


def _end_input(process: Process) -> None:
    """Close the input of a worker, which exits when it asks for another task."""
    if process.stdin is not None:
        with suppress(BrokenPipeError):  # it exited before it read its last task
            process.stdin.close()


def _signal_all(process: Process, number: int) -> None:
    """Signal a worker and its children, which form a process group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def check(config: LauncherConfig) -> None:
    """Check the configured devices. Raises InputError if some are absent or there are too few."""
    known = visible_devices()
    n, k = len(set(known if config.devices is None else config.devices)), config.devices_per_trial
    if 0 < n < k:
        raise InputError(
            f"launcher.devices_per_trial={k} cannot be used: there are {n} GPUs to use "
            "(launcher.devices, CUDA_VISIBLE_DEVICES)."
        )
    cores = os.cpu_count() or 1
    for key, value in (("threads", config.threads or 1), ("devices_per_trial", 1 if known else k)):
        accepted = f"at most {MOST_ON_A_CORE * cores}: this machine has {cores} cores"
        require(value <= MOST_ON_A_CORE * cores, f"launcher.{key}", value, accepted)
    for device in config.devices or []:
        if device not in known:
            raise InputError(
                f"launcher.devices={config.devices} cannot be used: this machine's GPUs are {known}."
            )


def make(config: LauncherConfig, cache: Path, logs: Path, lock: int) -> LocalLauncher:
    """Return the launcher of this machine."""
    return LocalLauncher(config, cache, logs, lock)


def describe(config: LauncherConfig) -> str:
    """Return the number of workers in one line."""
    workers = config.workers or max(1, len(config.devices or visible_devices()))
    return f"local, {workers} worker{'s' * (workers > 1)}"
