"""SLURM launcher: one job per task. All state lies on a shared file system; the queue is only read."""

from __future__ import annotations

import getpass
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any

from harness.config.launcher_clusters import SlurmConfig
from harness.errors import InputError, Resumable
from harness.launch.clusters.one_worker import shared_fields
from harness.launch.clusters.slurm_task import SLOT, STOPPED, run_task
from harness.launch.launcher import Ended
from harness.launch.local import ANSWERS
from harness.records import read_json, write_json
from harness.records.heartbeat import grace_seconds

POLL_SECONDS = 0.5  # between polls of the folders
QUEUE_SECONDS = 5.0  # between polls of the scheduler
GONE_SECONDS = 30.0  # delay with which a shared file system may show an answer after the job's end
PATIENCE_SECONDS = 600.0  # to wait for a scheduler that answered before
CONTINUED = 20  # successive jobs of one task, if they are asked to stop
SIGNAL_SECONDS = 90  # before its time limit a job is signalled
JOB = "slurm.json"  # the job of a folder, for a restarted driver

_OVER = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY"),
    *("PREEMPTED", "TIMEOUT", "REVOKED"),
)


@dataclass
class _Task:
    spec: dict[str, Any]
    job: str
    continued: int = 0
    gone: float | None = None  # time since which the scheduler does not list it


class SlurmLauncher:
    """Runs tasks as SLURM jobs. Jobs survive a killed driver, and the next one finds them."""

    def __init__(self, config: SlurmConfig, cache: Path, logs: Path) -> None:
        check(config)
        self._config, self._cache, self._logs = config, cache.absolute(), logs.absolute() / "slurm"
        self._logs.mkdir(parents=True, exist_ok=True)
        self._tasks: dict[Path, _Task] = {}
        self._next_look = self._next_question = 0.0
        self._said = {"None", "Priority", "Resources", "BeginTime", "Cleaning"}  # transient states
        self._accepted = False  # whether any job was accepted yet

    @property
    def size(self) -> int:
        return self._config.max_jobs

    @property
    def sharing(self) -> int:
        return 1

    @property
    def measured_at_once(self) -> int:
        return 1  # others may have to wait for a node

    def start(self) -> None:
        """Do nothing: a job starts with its task."""

    def has_room(self) -> bool:
        return len(self._tasks) < self._config.max_jobs

    def submit(self, folder: Path, spec: dict[str, Any]) -> None:
        """Submit a task as a new job, unless a job of an earlier driver still has it."""
        known, before = read_json(folder / JOB), read_json(folder / "spec.json")
        if known and _same(before, spec) and self._states().get(known["job"]) not in (None, *_OVER):
            self._tasks[folder] = _Task(spec, known["job"])
            return
        for name in (*ANSWERS, SLOT):
            (folder / name).unlink(missing_ok=True)
        write_json(folder / "spec.json", spec)
        self._tasks[folder] = _Task(spec, self._submit(folder))

    def _submit(self, folder: Path) -> str:
        """Submit and return the job's number. Raises InputError if the first job is refused."""
        config, began = self._config, time.monotonic()
        while True:
            try:
                submitted = self._executor().submit(
                    run_task,
                    folder=str(folder.absolute()),
                    told=shared_fields(config, config.cpus_per_task),
                    cache=str(self._cache),
                    logs=str(self._logs / folder.name),
                    on_gpu=config.gpus_per_task > 0,
                )
                job = submitted.job_id
                break
            except Exception as error:  # any failure of sbatch
                if not self._accepted or time.monotonic() - began > PATIENCE_SECONDS:
                    lines = [line for line in str(error).splitlines() if "sbatch: error" in line]
                    why = (lines or str(error).splitlines() or [type(error).__name__])[0]
                    raise InputError(f"launcher=slurm: the job is refused: {why}") from None
                time.sleep(QUEUE_SECONDS)
        self._accepted = True
        write_json(folder / JOB, {"job": job})
        return job

    def _executor(self) -> Any:
        from submitit import SlurmExecutor  # pyright: ignore[reportMissingImports]

        config = self._config
        executor = SlurmExecutor(folder=self._logs)
        wanted: dict[str, Any] = {
            "job_name": _name(self._logs),
            "partition": config.partition,
            "account": config.account,
            "time": config.time_minutes,
            "ntasks_per_node": 1,
            "cpus_per_task": config.cpus_per_task,
            "gpus_per_node": config.gpus_per_task or None,
            "mem": config.mem_gb,
            "signal_delay_s": SIGNAL_SECONDS,
            "setup": [f"module load {name} || exit 1" for name in config.modules] or None,
            "srun_args": [f"--cpus-per-task={config.cpus_per_task}"],  # not inherited since 22.05
            "additional_parameters": {"requeue": True, **config.options},
        }
        executor.update_parameters(**{k: v for k, v in wanted.items() if v is not None})
        return executor

    def poll(self) -> list[Ended]:
        """Return the tasks that ended since the last call."""
        now = time.monotonic()
        if now < self._next_look:
            return []
        self._next_look = now + POLL_SECONDS
        states = None
        if self._tasks and now >= self._next_question:
            self._next_question = now + QUEUE_SECONDS
            states = self._states(patience=0.0)
        found = [(folder, self._end_of(folder, states)) for folder in list(self._tasks)]
        ended = [end for _, end in found if end is not None]
        for end in ended:
            del self._tasks[end.folder]
        return ended

    def _end_of(self, folder: Path, states: Mapping[str, str] | None) -> Ended | None:
        """Return how the task ended, or None.

        ``states`` is None between polls of the scheduler, or if it does not answer.
        """
        if any((folder / name).exists() for name in ANSWERS):
            rejected = read_json(folder / "rejected.json")  # it stays: its job looks for it too
            return Ended(folder, rejected=None if rejected is None else rejected["message"])
        task, slot = self._tasks[folder], read_json(folder / SLOT)
        if slot is not None and not slot["stopped"]:  # its worker crashed in the job
            known = {key: slot[key] for key in ("lost", "hung") if slot.get(key) is not None}
            return Ended(folder, **known)
        if states is None:
            return None
        state = states.get(task.job)
        if state not in (None, *_OVER):
            task.gone = None  # it waits, runs, or was requeued by the scheduler
            return None
        if state != "CANCELLED":  # a requeued job is over for a moment, too
            task.gone = task.gone or time.monotonic()
            if time.monotonic() - task.gone < GONE_SECONDS:
                return None
        if slot is not None and state != "CANCELLED" and task.continued < CONTINUED:
            (folder / SLOT).unlink(missing_ok=True)  # stopped, not by the user: another job
            task.continued, task.gone = task.continued + 1, None
            _command("scancel", task.job)  # in case it returns: never two jobs in one folder
            task.job = self._submit(folder)
            return None
        return Ended(folder, lost=STOPPED if slot is not None else -9)

    def close(self) -> None:
        """Cancel waiting jobs. Running ones write a checkpoint and are cancelled after a grace time."""
        if not self._tasks:
            return
        states = self._states(patience=5.0) or {}
        jobs = {task.job for task in self._tasks.values()}
        runs = {job for job in jobs if states.get(job) == "RUNNING"}
        _command("scancel", *(jobs - runs))
        _command("scancel", "--signal=TERM", *runs)
        until = time.monotonic() + grace_seconds(self._tasks) + 10
        while runs and time.monotonic() < until:
            time.sleep(0.5)
            states = self._states(patience=0.0)
            runs = runs if states is None else {j for j in runs if states.get(j) == "RUNNING"}
        _command("scancel", *jobs)
        self._tasks.clear()

    def _say_why(self, pending: list[list[str]]) -> None:
        """Print once per reason why jobs wait, if they may wait forever."""
        for job, _, *reason in pending:
            why = reason[0] if reason else ""
            if why and why not in self._said:
                print(f"launcher=slurm: job {job} waits: {why}")
                self._said.add(why)

    def _states(self, patience: float = PATIENCE_SECONDS) -> Any:
        """Job → state, of the jobs of this sweep that the scheduler remembers.

        None where it does not answer within ``patience`` seconds; with the default it raises Resumable.
        """
        began = time.monotonic()
        arguments = [
            "--noheader",
            "--states=all",
            f"--name={_name(self._logs)}",
            "--format=%i %T %r",
        ]
        while True:
            done = _command("squeue", f"--user={getpass.getuser()}", *arguments)
            if done is not None and done.returncode == 0:
                lines = [
                    line.split(maxsplit=2) for line in done.stdout.splitlines() if line.strip()
                ]
                self._say_why([line for line in lines if line[1] == "PENDING"])
                return {job: state for job, state, *_ in lines}
            if time.monotonic() - began > patience:
                if patience < PATIENCE_SECONDS:
                    return None
                raise Resumable(
                    f"launcher=slurm: squeue has not answered for {PATIENCE_SECONDS / 60:g} minutes. "
                    "Jobs go on; the same command finds them again."
                )
            time.sleep(QUEUE_SECONDS)


def check(config: SlurmConfig) -> None:
    """Check the SLURM commands. Raises InputError if this machine cannot submit jobs."""
    if find_spec("submitit") is None:
        raise InputError(
            "launcher=slurm needs the package submitit: pip install 'finetune-harness[slurm]'"
        )
    missing = [name for name in ("sbatch", "srun", "squeue", "scancel") if which(name) is None]
    if missing:
        raise InputError(
            f"launcher=slurm: {', '.join(missing)} not found: start the sweep where jobs are "
            "submitted from."
        )


def make(config: SlurmConfig, cache: Path, logs: Path, lock: int) -> SlurmLauncher:
    """Return the launcher. Raises InputError where this machine cannot submit."""
    return SlurmLauncher(config, cache, logs)


def describe(config: SlurmConfig) -> str:
    """Return version and partition in one line. Raises InputError for an unknown partition."""
    return f"slurm, submitit {version('submitit')}: {_partition(config)}"


def _partition(config: SlurmConfig) -> str:
    named = [f"--partition={config.partition}"] if config.partition else []
    done = subprocess.run(
        ["sinfo", "--noheader", "--format=%P %a, %D nodes, at most %l", *named],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        why = (done.stderr.strip().splitlines() or ["no such partition"])[0]
        raise InputError(f"launcher=slurm: sinfo: {why}")
    default = [line for line in lines if "*" in line.split()[0]]
    return "partition " + (default or lines)[0]


def _name(logs: Path) -> str:
    """Return the name shared by all jobs of a sweep: ``runs/NAME/workers/slurm``."""
    return f"harness-{logs.parts[-3]}"


def _same(before: Any, spec: Mapping[str, Any]) -> bool:
    """Return whether both specs are the same task, whatever the attempt."""
    import json

    if not isinstance(before, dict):
        return False
    one, other = ({k: v for k, v in of.items() if k != "attempt"} for of in (before, spec))
    return one == json.loads(json.dumps(other))


def _command(name: str, *arguments: str) -> subprocess.CompletedProcess[str] | None:
    """Return the output of the command ``name``; None without jobs to name, or if it times out."""
    if name == "scancel" and not [a for a in arguments if not a.startswith("-")]:
        return None
    try:
        return subprocess.run(
            [name, *arguments], capture_output=True, text=True, timeout=60, check=False
        )
    except subprocess.TimeoutExpired:
        return None
