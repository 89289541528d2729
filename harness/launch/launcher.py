"""The launcher interface. A task is a folder that is submitted and polled; all data are files in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

DISK_FULL = 74  # exit code of a worker with a full disk; not counted as an attempt
TEAM_BROKEN = 76  # exit code of a worker that lost the process of another device
NO_ROOM = 77  # a process ran out of memory in a collective operation; counts as an attempt
WAITING = "waiting for a worker, which imports torch and transformers"
ERROR = "error.txt"  # in a task's folder: traceback of an error not caused by the input


@dataclass(frozen=True)
class Ended:
    """A task that has ended.

    ``lost`` is the exit code of a worker that crashed during the task, or was killed after ``hung``
    minutes without progress. ``oom_killed`` is true if the system killed it for lack of memory.
    """

    folder: Path
    rejected: str | None = None  # message for the user if the input was at fault
    lost: int | None = None
    hung: float | None = None
    oom_killed: bool = False


class Launcher(Protocol):
    """Runs tasks on workers."""

    @property
    def size(self) -> int:
        """The number of tasks that run at a time."""
        ...

    @property
    def sharing(self) -> int:
        """Return the number of workers that share one device."""
        ...

    @property
    def measured_at_once(self) -> int:
        """Return the number of tasks that may be measured at a time: on a CPU, or a GPU each."""
        ...

    def start(self) -> None:
        """Start slow preparations before the first task."""

    def has_room(self) -> bool:
        """Return whether ``submit`` would find an idle worker."""
        ...

    def submit(self, folder: Path, spec: dict[str, Any]) -> None:
        """Submit the task of ``folder``."""

    def poll(self) -> list[Ended]:
        """Return the tasks that ended since the last call."""
        ...

    def close(self) -> None:
        """Stop all workers. A worker on a trial first writes a checkpoint."""
