"""Detection of a full or read-only disk, and the message about it."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

from harness.errors import DiskFull
from harness.records.disk_usage import gigabytes

STOPPED = "stopped.txt"  # in a task's folder: the message of a worker that exited
_NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
# Libraries that write files raise errors of their own: safetensors, SQLite, torch.
_WORDS = ("No space left on device", "Disk quota exceeded", "File too large", "disk is full")
_WORDS += ("Read-only file system", "readonly database")
_TORCH = ("unexpected pos", "failed writing file", "iostream error")


def is_disk_full(error: BaseException | None) -> bool:
    """Return whether ``error``, or an error that caused it, reports a full disk."""
    seen = 0
    while error is not None and seen < 10:
        if isinstance(error, DiskFull):
            return True
        if isinstance(error, OSError) and error.errno in _NUMBERS:
            return True
        if any(words in str(error) for words in _WORDS):
            return True
        if isinstance(error, RuntimeError) and any(words in str(error) for words in _TORCH):
            return True
        error, seen = error.__cause__ or error.__context__, seen + 1
    return False


def message(folder: Path, needed: int | None = None) -> str:
    """Return a message with the folder, the space needed if known, and the next step."""
    if _is_read_only(folder):
        return (
            f"Read-only: {folder} cannot be written to any more. Nothing that was finished is lost. "
            "Once it can be, go on with the same command."
        )
    free = ""
    with suppress(OSError):
        free = f", {gigabytes(shutil.disk_usage(folder).free)} are free"
    need = "" if needed is None else f" {gigabytes(needed)} are needed{free}."
    return (
        f"Disk full: {folder} cannot be written to{free if not need else ''}.{need} Nothing that was "
        "finished is lost. Free some space (python -m harness.clean shows what can go), then go on "
        "with the same command."
    )


def _is_read_only(folder: Path) -> bool:
    """Return whether the file system is read-only. The kernel makes it so when a disk fails."""
    with suppress(OSError):
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    return False


def require_room(folder: Path, needed: int) -> None:
    """Check for ``needed`` free bytes. Raises DiskFull if there are fewer."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError:  # unknown; a failing write will report it
        return
    if free < needed:
        raise DiskFull(message(folder, needed))


def stop(folder: Path, error: BaseException) -> None:
    """Write the reason into ``folder`` for the driver, if it still fits on the disk."""
    reason = str(error) if isinstance(error, DiskFull) else message(folder)
    with suppress(OSError):
        (folder / STOPPED).write_text(reason, encoding="utf-8")


def stopped(folder: Path) -> str:
    """Return and delete the reason that a worker wrote before it exited."""
    reason = ""
    with suppress(OSError, UnicodeDecodeError):
        reason = (folder / STOPPED).read_text(encoding="utf-8")
        (folder / STOPPED).unlink()
    return reason or message(folder)


def disk_full_message(error: BaseException) -> str | None:
    """Return the message for a full disk; None if ``error`` is something else."""
    if not is_disk_full(error):
        return None
    if isinstance(error, DiskFull):
        return str(error)
    named = getattr(error, "filename", None)
    return message(Path(named).parent if isinstance(named, str) else Path())
