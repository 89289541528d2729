"""Work that several processes need done once: each part by one of them, the others read its result."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.records import heartbeat

POLL_SECONDS = 0.05


def shared_work(folder: Path, key: str, parts: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """Call each of ``parts`` while no other process is at that part of ``key``; return the results.

    A part reads the result that another process left, or makes it and leaves it. Parts that another
    process is at are put off, so that processes that begin together divide the work. ``folder`` holds
    the locks, which a process loses when it is killed.
    """
    results: dict[str, Any] = {}
    while len(results) < len(parts):
        for name in [name for name in parts if name not in results]:
            with _locked(folder / f"{key}-{name}.lock") as mine:
                if mine:
                    results[name] = parts[name]()
        if len(results) < len(parts):
            heartbeat.mark()
            time.sleep(POLL_SECONDS)
    return {name: results[name] for name in parts}


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Context that yields whether this process has the lock ``path`` for itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:  # a file system without locks: each process does all of the work
            pass
        try:
            yield True
        finally:
            path.unlink(missing_ok=True)
