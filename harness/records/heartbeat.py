"""Heartbeat file, whose modification time shows progress to the launcher, which detects hung workers.

A hung process still exists, so its existence shows nothing. ``mark()`` is called after progress: a
batch collated, an answer generated, a page tokenized, a phase of a trial begun.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

NAME = "alive"  # in the folder of a task
SECONDS = 1.0  # the file is not touched more often

_path: Path | None = None
_marked = 0.0


def begin(folder: Path) -> None:
    """Record progress for the task in ``folder`` from now on."""
    global _path, _marked
    _path, _marked = folder / NAME, float("-inf")
    mark()


def mark() -> None:
    """Record progress. Almost free, and without effect if no task was begun."""
    global _marked
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
