"""Disk usage, and the files of a trial that nobody needs once it has ended."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from harness.errors import InputError

# In a trial's folder: to go on from, or being written when the power went.
TO_GO_ON_FROM = ("checkpoint", "checkpoint-first", "selected")
LEFT_OVER = ("adapter.tmp", "alive")


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; links count for themselves."""
    if path.is_symlink() or not path.is_dir():
        try:
            return path.lstat().st_size
        except OSError:
            return 0  # gone since it was listed
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:
                continue
    return total


def gigabytes(n_bytes: int) -> str:
    """'1.27 GB' (1e9 bytes); small sizes keep two digits that say something."""
    value = n_bytes / 1e9
    return f"{value:.2f} GB" if value >= 0.1 else f"{value:.2g} GB"


def scratch_of(trial: Path) -> Iterator[Path]:
    """Return the files of a finished trial that nobody will read again."""
    for name in (*TO_GO_ON_FROM, *LEFT_OVER):
        if (trial / name).exists():
            yield trial / name


def partial_files(folder: Path) -> Iterator[Path]:
    """Files right in ``folder`` that were being written aside when their writer was killed.

    Or are being written now: only for who knows that nobody writes.
    """
    yield from sorted(path for path in folder.glob(".*.tmp") if path.is_file())


def remove(path: Path) -> None:
    """A file, a link or a whole folder; what a link leads to is left alone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def tidy(trial: Path) -> None:
    """Once its record is written."""
    for path in list(scratch_of(trial)):
        remove(path)


def make_writable(field: str, folder: Path) -> None:
    """Make ``folder``, and raise InputError, naming ``field``, where no file can be made in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{field}: {str(folder)!r} cannot be written: {error.strerror}.") from None
