"""Heartbeat file, whose modification time shows progress to the launcher, which detects hung workers.

A hung process still exists, so its existence shows nothing. ``mark()`` is called after progress: a
batch collated, an answer generated, a page tokenized, a phase of a trial begun.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from harness.records.store import write_text

NAME = "alive"  # in the folder of a task
CHECKPOINT_NAME = "checkpoint_seconds"  # likewise: how long the last one took
LEAST_SECONDS = 1.0  # of a checkpoint that is worth that file
STEP_SECONDS = 20.0  # to finish a step, or a batch of an evaluation
SECONDS = 1.0  # the file is not touched more often
ASK_SECONDS = 1.0  # it is not asked more often whether to stop

_asked: Callable[[], bool] | None = None  # whether to stop
_asks_at = 0.0
_path: Path | None = None
_marked = 0.0


class Stopped(BaseException):
    """Raised by ``mark`` in work that can be repeated. No handler of errors takes it for one."""


@contextmanager
def interruptible(asked: Callable[[], bool] | None) -> Iterator[None]:
    """Context of work that ends with Stopped at a ``mark`` when ``asked()``, once a second, is true."""
    global _asked, _asks_at
    before = _asked, _asks_at
    _asked, _asks_at = asked, time.monotonic() + ASK_SECONDS
    try:
        yield
    finally:
        _asked, _asks_at = before


def uninterrupted() -> AbstractContextManager[None]:
    """Context of work within ``interruptible`` work that does not end in the middle."""
    return interruptible(None)


def begin(folder: Path) -> None:
    """Record progress for the task in ``folder`` from now on."""
    global _path, _marked
    _path, _marked = folder / NAME, float("-inf")
    mark()


def mark() -> None:
    """Record progress. Almost free. Raises Stopped in ``interruptible`` work that is to stop."""
    global _marked, _asks_at
    if _asked is not None and time.monotonic() >= _asks_at:
        _asks_at = time.monotonic() + ASK_SECONDS
        if _asked():
            raise Stopped
    if _path is None or time.monotonic() - _marked < SECONDS:
        return
    _marked = time.monotonic()
    with suppress(OSError):  # a full disk is reported by essential writes
        if not _path.exists():
            _path.touch()
        os.utime(_path)


def end() -> None:
    """End the task's heartbeat."""
    global _path
    if _path is not None:
        with suppress(OSError):
            _path.unlink(missing_ok=True)
    _path = None


def remember_checkpoint(folder: Path, seconds: float) -> None:
    """Remember the duration of the last checkpoint of the trial in ``folder``."""
    if seconds >= LEAST_SECONDS:
        with suppress(OSError):  # a full disk is reported by essential writes
            write_text(folder / CHECKPOINT_NAME, f"{seconds:.1f}")


def checkpoint_seconds(folder: Path) -> float:
    """Return those seconds, 0 where they are not known or fewer than ``LEAST_SECONDS``."""
    try:
        return float((folder / CHECKPOINT_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0.0


def grace_seconds(folders: Iterable[Path | None]) -> float:
    """Return how long to wait for the tasks of ``folders``: a step, and twice their checkpoints."""
    return STEP_SECONDS + 2 * max([0.0, *(checkpoint_seconds(f) for f in folders if f is not None)])
