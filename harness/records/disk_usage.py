"""Disk usage, and deletion of files that a finished trial no longer needs."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from harness.errors import InputError
from harness.terminal import phases

# Files in a trial's folder that serve to resume it, or are partial.
TO_GO_ON_FROM = ("checkpoint", "checkpoint-first", "selected")
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
    """Return when a file, or any file below a folder, was last read or written, in Unix seconds.

    By the file system's times, which may be a day late for reading.
    """
    files = [path] if path.is_symlink() or not path.is_dir() else path.rglob("*")
    times = [0.0]
    for file in files:
        try:
            status = file.lstat()
        except OSError:
            continue  # deleted after it was listed
        if file.is_symlink() or not file.is_dir():
            times.append(max(status.st_mtime, status.st_atime))
    return max(times)


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
