"""Errors caused by the user's input or environment, as opposed to bugs of ours."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager


class InputError(ValueError):
    """Input that cannot be used: the message names the field, the value and what is accepted.

    The entries turn it into that one message and exit code 2, without a traceback.
    """


class Stopped(Exception):
    """Raised if a signal ended the trial, after a checkpoint. The same command goes on from there."""

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
    """Return the error for a name not in ``known``: the nearest names, then all of ``listed``.

    ``near`` are the nearest names where spelling alone does not find them.
    """
    names = sorted(known)
    listed = names if listed is None else sorted(listed)
    near = nearest(name, names) if near is None else near
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return InputError(f"Unknown {what} '{name}'.{hint} Known: {', '.join(listed) or 'none'}.")


def nearest(name: object, known: Iterable[str]) -> list[str]:
    """Return at most three of ``known`` similar to ``name``, ignoring case and hyphens."""
    plain: dict[str, str] = {}
    for each in known:
        plain.setdefault(_plain(each), each)
    return [plain[one] for one in difflib.get_close_matches(_plain(str(name)), plain, 3, 0.5)]


def _plain(name: str) -> str:
    return name.casefold().replace("-", "_")


# Errors of libraries for a model or a configuration that does not suit them.
REFUSALS = (ValueError, TypeError, RuntimeError, KeyError, IndexError, AttributeError, ImportError)


@contextmanager
def refused_by_library(what: str, advice: str = "") -> Iterator[None]:
    """Turn a library's error about the user's model or configuration into an InputError.

    ``what`` names the fields and their values, ``advice`` what to do where the library's own sentence
    does not. Raises InputError in its place; that memory gave out is no fault of the input and passes
    through.
    """
    try:
        yield
    except REFUSALS as error:
        if isinstance(error, InputError) or is_out_of_memory(error):
            raise
        said = sentence(error).rstrip(".")
        more = f". {advice}" if advice else ""
        raise InputError(f"{what} cannot be used: {said}{more}") from error


def sentence(error: BaseException) -> str:
    """Return the message of ``error`` on one line, with its class where the text alone is unclear."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[0] if lines else ""
    if isinstance(error, ValueError | NotImplementedError | OSError) and said:
        return said
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out; CUDA libraries and the CPU's allocator only say so in the text."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    said = ("can't allocate memory", "ALLOC_FAILED", "out of memory")
    return isinstance(error, RuntimeError) and any(words in str(error) for words in said)


class Resumable(Exception):
    """A resource of the sweep is unreachable. The message names it; the same command resumes the sweep.

    The entries turn it into that one message and exit code 75, without a traceback.
    """


class DiskFull(Resumable):
    """There is no room for a file that must be written."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, else its class. torch appends a stack trace."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
