"""The launcher interface: a task is a folder, submitted and polled; nothing passes through memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

DISK_FULL = 74  # exit code of a worker that could not write: not the trial's fault, and no attempt
TEAM_BROKEN = 76  # exit code of a worker that lost a process which trained along on another device
NO_ROOM = 77  # or in which one ran out of memory where it cannot tell the others: the trial's fault
ERROR = "error.txt"  # in a task's folder: the traceback of what broke it, which is no input's fault


@dataclass(frozen=True)
class Ended:
    """A task that is over. ``lost`` is the exit code of a worker that died under it, or was killed

    because it ``hung``: made no progress for so many minutes. ``starved``: by the system, which had no
    memory left.
    """

    folder: Path
    rejected: str | None = None  # the input was at fault: what to tell the user
    lost: int | None = None
    hung: float | None = None
    starved: bool = False


class Launcher(Protocol):
    """Runs tasks on workers."""

    @property
    def sharing(self) -> int:
        """Return how many of its workers share one device."""
        ...

    def start(self) -> None:
        """Begin what takes time before the first task."""

    def has_room(self) -> bool:
        """Return whether ``submit`` would find an idle worker."""
        ...

    def submit(self, folder: Path, spec: dict[str, Any]) -> None:
        """Hand over the task of ``folder``."""

    def poll(self) -> list[Ended]:
        """Tasks that ended since the last call."""
        ...

    def close(self) -> None:
        """Stop: those on a trial write a checkpoint first."""
