"""Disk usage, and deletion of files that a finished trial no longer needs."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from harness.errors import InputError
from harness.terminal import phases

# Files in a trial's folder that serve to resume it, or are partial.
TO_GO_ON_FROM = ("checkpoint", "checkpoint-first", "selected")
# The most that parts of the cache hold. Their entries are made again in seconds (tokens of a million
# rows in minutes), and a sweep of one base uses few of them: rarely more than 1, 2 and 35 GB.
# Folders of runs/.cache. Nothing else in a folder of that name is ours.
CACHE_PARTS = (
    "answers",
    "base",
    "first_stage",
    "footprints",
    "judge",
    "overlap",
    "tasks",
    "tokens",
)
CACHE_PARTS += ("under_way", "weights")
MOST_GB = {"base": 5.0, "tokens": 10.0, "first_stage": 40.0}
IN_USE_SECONDS = 3600.0
LEFT_OVER = ("adapter.tmp", "alive", "checkpoint_seconds", phases.FILE)


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder. Links are not followed."""
    if path.is_symlink() or not path.is_dir():
        try:
            return path.lstat().st_size
        except OSError:
            return 0  # deleted after it was listed
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:
                continue
    return total


def last_used(path: Path) -> float:
    """Return when an entry of the cache was last read or written, in Unix seconds.

    An entry is a file or a folder. Programs say so with ``mark_used``, since many file systems do not
    keep the time of reading.
    """
    times = [0.0]
    for file in [path, *(path.rglob("*") if path.is_dir() and not path.is_symlink() else ())]:
        try:
            status = file.lstat()
        except OSError:
            continue  # deleted after it was listed
        listed = file.is_dir() and not file.is_symlink()  # looking into a folder is no use of it
        times.append(status.st_mtime if listed else max(status.st_mtime, status.st_atime))
    return max(times)


def mark_used(path: Path) -> None:
    """Record that an entry of the cache was used now."""
    with suppress(OSError):  # a cache that may only be read, or deleted by another process
        os.utime(path)


def beyond_bound(folder: Path) -> list[Path]:
    """Return entries of a part of the cache to delete so that the rest is within MOST_GB.

    Those come first that were not used for longest. None that was used within the last hour: a trial
    may be about to read it.
    """
    most = MOST_GB.get(folder.name)
    if most is None or not folder.is_dir():
        return []
    entries = sorted((last_used(path), path) for path in folder.iterdir())
    room = most * 1e9 - sum(size_of(path) for _, path in entries)
    found = []
    for used, path in entries:
        if room >= 0 or used > time.time() - IN_USE_SECONDS:
            break
        found.append(path)
        room += size_of(path)
    return found


def keep_bound(folder: Path) -> None:
    """Delete what ``beyond_bound`` returns. Called after something was added."""
    for path in beyond_bound(folder):
        remove(path)


def gigabytes(n_bytes: int) -> str:
    """Format bytes as '1.27 GB' (1e9 bytes); small sizes keep two significant digits."""
    value = n_bytes / 1e9
    return f"{value:.2f} GB" if value >= 0.1 else f"{value:.2g} GB"


def scratch_of(trial: Path) -> Iterator[Path]:
    """Return the files of a finished trial that are never read again."""
    for name in (*TO_GO_ON_FROM, *LEFT_OVER):
        if (trial / name).exists():
            yield trial / name


def partial_files(folder: Path) -> Iterator[Path]:
    """Return partial files directly in ``folder``, left by a killed writer.

    They may also be in use: call this only if nothing is being written.
    """
    yield from sorted(path for path in folder.glob(".*.tmp") if path.is_file())


def remove(path: Path) -> None:
    """Delete a file, a link or a folder; the target of a link stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def tidy(trial: Path) -> None:
    """Delete scratch files of a trial whose record is written."""
    for path in list(scratch_of(trial)):
        remove(path)


def make_writable(field: str, folder: Path) -> None:
    """Create ``folder``. Raises InputError, naming ``field``, if files cannot be created in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{field}: {str(folder)!r} cannot be written: {error.strerror}.") from None
