"""A sign of progress that another process can see: a file whose time moves with batches and phases.

A process that hangs still lives, so that it lives proves nothing. ``mark()`` stands where something
has been done: a batch collated, an answer generated, a page tokenized, a phase of a trial begun.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

NAME = "alive"  # in the folder of a task
SECONDS = 1.0  # the file is not moved more often

_path: Path | None = None
_marked = 0.0


def begin(folder: Path) -> None:
    """Record progress for the task in ``folder`` from now on."""
    global _path, _marked
    _path, _marked = folder / NAME, float("-inf")
    mark()


def mark() -> None:
    """Something was done. Costs next to nothing, and nothing where no task was begun."""
    global _marked
    if _path is None or time.monotonic() - _marked < SECONDS:
        return
    _marked = time.monotonic()
    with suppress(OSError):  # a full disk is told by what needs to be written
        if not _path.exists():
            _path.touch()
        os.utime(_path)


def end() -> None:
    """The task is over."""
    global _path
    if _path is not None:
        with suppress(OSError):
            _path.unlink(missing_ok=True)
    _path = None
