"""Heartbeat file. Its modification time shows progress, so that the launcher can detect hung workers.

``mark()`` is called after each piece of work: a batch collated, an answer generated, a page
tokenized, a phase of a trial begun.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from harness.records.store import write_text

NAME = "alive"  # in the folder of a task
CHECKPOINT_NAME = "checkpoint_seconds"  # in a trial's folder: duration of the last checkpoint
LEAST_SECONDS = 1.0  # shorter checkpoints are not recorded
STEP_SECONDS = 20.0  # time to finish a training step or an evaluation batch
SECONDS = 1.0  # least time between two updates of the file
ASK_SECONDS = 1.0  # least time between two checks for a stop request

_asked: Callable[[], bool] | None = None  # returns whether to stop
_asks_at = 0.0
_paths: tuple[Path, ...] = ()
_marked = 0.0
_checkpoints: dict[Path, float] = {}  # seconds of the last one, by trial of the task


class WorkStopped(BaseException):
    """Raised by ``mark`` in work that can be repeated. No handler of errors takes it for one."""


@contextmanager
def interruptible(asked: Callable[[], bool] | None) -> Iterator[None]:
    """Context in which ``mark`` raises once ``asked()`` returns true. It is called once a second."""
    global _asked, _asks_at
    before = _asked, _asks_at
    _asked, _asks_at = asked, time.monotonic() + ASK_SECONDS
    try:
        yield
    finally:
        _asked, _asks_at = before


def uninterrupted() -> AbstractContextManager[None]:
    """Context within ``interruptible`` work that must not be interrupted."""
    return interruptible(None)


def begin(*folders: Path) -> None:
    """Direct heartbeats to the task in the first of ``folders``, and to those of its trials."""
    global _paths, _marked
    _checkpoints.clear()
    _paths, _marked = tuple(folder / NAME for folder in folders), float("-inf")
    mark()


def mark() -> None:
    """Record progress. Almost free. Raises WorkStopped in ``interruptible`` work that is to stop."""
    global _marked, _asks_at
    if _asked is not None and time.monotonic() >= _asks_at:
        _asks_at = time.monotonic() + ASK_SECONDS
        if _asked():
            raise WorkStopped
    if not _paths or time.monotonic() - _marked < SECONDS:
        return
    _marked = time.monotonic()
    for path in _paths:
        with suppress(OSError):  # a full disk is reported by essential writes
            if not path.exists():
                path.touch()
            os.utime(path)


def end() -> None:
    """Stop the heartbeat of the current task."""
    global _paths
    for path in _paths:
        with suppress(OSError):
            path.unlink(missing_ok=True)
    _paths = ()


def remember_checkpoint(folder: Path, seconds: float) -> None:
    """Record the duration of the last checkpoint of the trial in ``folder``, in seconds.

    A task of several trials takes the sum of theirs.
    """
    of = {folder: seconds}
    if _paths and _paths[0].parent != folder:
        _checkpoints[folder] = seconds
        of[_paths[0].parent] = sum(_checkpoints.values())
    for path, taken in of.items():
        if taken >= LEAST_SECONDS:
            with suppress(OSError):  # a full disk is reported by essential writes
                write_text(path / CHECKPOINT_NAME, f"{taken:.1f}")


def checkpoint_seconds(folder: Path) -> float:
    """Return the recorded duration in seconds; 0 if none was recorded."""
    try:
        return float((folder / CHECKPOINT_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0.0


def grace_seconds(folders: Iterable[Path | None]) -> float:
    """Return the seconds to wait for the tasks of ``folders``: one step and two checkpoints."""
    return STEP_SECONDS + 2 * max([0.0, *(checkpoint_seconds(f) for f in folders if f is not None)])
