"""Errors caused by the user's input or environment, as opposed to bugs."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager


class InputError(ValueError):
    """Raised for input that cannot be used. The message names field, value, and what is accepted.

    Entry points print only the message and return exit code 2, without a traceback.
    """


class Stopped(Exception):
    """Raised if a signal ended the trial after a checkpoint. The same command resumes it."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def unknown(
    what: str,
    name: object,
    known: Iterable[str],
    listed: Iterable[str] | None = None,
    near: Sequence[str] | None = None,
) -> InputError:
    """Return an InputError for a name that is not in ``known``, with the nearest names and ``listed``.

    ``near`` holds the nearest names if similar spelling would not find them.
    """
    names = sorted(known)
    listed = names if listed is None else sorted(listed)
    near = nearest(name, names) if near is None else near
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return InputError(f"Unknown {what} '{name}'.{hint} Known: {', '.join(listed) or 'none'}.")


def nearest(name: object, known: Iterable[str]) -> list[str]:
    """Return at most three entries of ``known`` similar to ``name``, ignoring case and hyphens."""
    plain: dict[str, str] = {}
    for each in known:
        plain.setdefault(_plain(each), each)
    return [plain[one] for one in difflib.get_close_matches(_plain(str(name)), plain, 3, 0.5)]


def _plain(name: str) -> str:
    return name.casefold().replace("-", "_")


# Types that libraries raise for an unsupported model or configuration.
REFUSALS = (ValueError, TypeError, RuntimeError, KeyError, IndexError, AttributeError, ImportError)


@contextmanager
def refused_by_library(what: str, advice: str = "") -> Iterator[None]:
    """Context that turns a library's error about the model or configuration into InputError.

    ``what`` names fields and values. ``advice`` is added if the library's own message gives none.
    Errors of memory are not caused by the input and pass through.
    """
    try:
        yield
    except REFUSALS as error:
        if isinstance(error, InputError) or is_out_of_memory(error):
            raise
        wording = sentence(error).rstrip(".")
        more = f". {advice}" if advice else ""
        raise InputError(f"{what} cannot be used: {wording}{more}") from error


def sentence(error: BaseException) -> str:
    """Return the message of ``error`` on one line, with its class if the message alone is unclear."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    wording = lines[0] if lines else ""
    if isinstance(error, ValueError | NotImplementedError | OSError) and wording:
        return wording
    return f"{type(error).__name__}: {wording}" if wording else type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out. CUDA libraries and the CPU allocator report it only as text."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    wording = ("can't allocate memory", "ALLOC_FAILED", "out of memory")
    return isinstance(error, RuntimeError) and any(words in str(error) for words in wording)


# Answers of the operating system to a path that a user gave, and that no retry changes.
_OF_PATHS = (
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.EEXIST,
    errno.ENAMETOOLONG,
    errno.ELOOP,
)


@contextmanager
def refused_paths(*more: int) -> Iterator[None]:
    """Context that turns the system's refusal of a path into InputError: not permitted, no folder.

    For commands whose paths are their arguments. ``more`` are further numbers of ``errno``.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (*_OF_PATHS, *more) or error.filename is None:
            raise
        raise InputError(f"{error.filename!s} cannot be used: {error.strerror}.") from error


class Resumable(Exception):
    """Raised if a resource of the sweep is unreachable. The same command resumes the sweep.

    Entry points print the message, which names the resource, and return exit code 75.
    """


class DiskFull(Resumable):
    """Raised if there is no space for a file that must be written."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its class. torch appends a stack trace."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
