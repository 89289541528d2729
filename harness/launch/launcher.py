"""The launcher interface: a task is a folder, submitted and polled; nothing passes through memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

DISK_FULL = 74  # exit code of a worker that could not write; it does not count as an attempt
TEAM_BROKEN = 76  # exit code of a worker that lost the process of another device
NO_ROOM = 77  # a process ran out of memory in a collective operation; counts as an attempt
ERROR = "error.txt"  # in a task's folder: the traceback of an error that the input did not cause


@dataclass(frozen=True)
class Ended:
    """A task that has ended.

    ``lost`` is the exit code of a worker that crashed under it, or was killed because it made no
    progress for ``hung`` minutes. ``oom_killed``: killed by the system for lack of memory.
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
        """The number of tasks that it runs at a time."""
        ...

    @property
    def sharing(self) -> int:
        """Return how many of its workers share one device."""
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
        """Stop all workers. Those on a trial write a checkpoint first."""
