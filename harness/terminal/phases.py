"""Phases of a command that take longer than a moment, shown to whoever waits for it.

A command shows them on standard error: a spinner on a terminal, else a line with the clock time. A
worker writes its own to a file, and the command that waits for it shows them as its own. In a
program that imports this package nothing is shown.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["FILE", "direct", "phase", "phase_in", "show_phases", "write_phases"]

FIRST_SECONDS = 0.4  # until the first phase is shown
FILE = "phase"  # in the folder of a worker's task
PATIENCE_SECONDS = 1.5  # until a later one is shown; shorter phases are not worth a line

_running: list[str] = []  # nested: the last one is shown
_shown_by: Callable[[str | None], None] | None = None


@contextmanager
def phase(text: str) -> Iterator[Callable[[str], None]]:
    """Show ``text`` while the context lasts. The yielded function replaces it by another text."""
    _running.append(text)
    depth = len(_running)
    _tell()

    def replace(other: str) -> None:
        if _running[depth - 1 :] != [other]:
            _running[depth - 1 :] = [other]
            _tell()

    try:
        yield replace
    finally:
        del _running[depth - 1 :]
        _tell()


def direct(to: Callable[[str | None], None] | None) -> None:
    """Give the present phase to ``to`` from now on, at each change; None for no phase."""
    global _shown_by
    _shown_by = to
    _tell()


def show_phases() -> None:
    """Show the phases of this process on standard error."""
    direct(_Spinner() if sys.stderr.isatty() else _Lines())


def write_phases(folder: Path, owned: Callable[[], bool] = lambda: True) -> None:
    """Write the phases of this process to a file in ``folder``, for a process that waits.

    Nothing is written or deleted once ``owned()`` is false: the folder is another process's then.
    """

    def write(text: str | None) -> None:
        if not owned():
            return
        with suppress(OSError):  # a full disk is reported by what matters more
            if text is None:
                (folder / FILE).unlink(missing_ok=True)
            else:
                (folder / FILE).write_text(text, encoding="utf-8")

    direct(write)


def phase_in(folder: Path) -> str | None:
    """Return the phase of the worker at the task in ``folder``; None before and after it."""
    with suppress(OSError):
        return (folder / FILE).read_text(encoding="utf-8", errors="replace") or None
    return None


def _tell() -> None:
    if _shown_by is not None:
        _shown_by(_running[-1] if _running else None)


class _Lines:
    """A line for each phase that lasts, once."""

    def __init__(self) -> None:
        self._timer: threading.Timer | None = None
        self._said: set[str] = set()

    def __call__(self, text: str | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if text is None or text in self._said:
            return
        seconds = PATIENCE_SECONDS if self._said else FIRST_SECONDS
        self._timer = threading.Timer(seconds, self._say, [text])
        self._timer.daemon = True
        self._timer.start()

    def _say(self, text: str) -> None:
        self._said.add(text)
        print(f"{time.strftime('%H:%M:%S')}  {text} …", file=sys.stderr, flush=True)


class _Spinner:
    """One line with the present phase, which disappears when the phase ends."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.status import Status

        self._status = Status("", console=Console(stderr=True, highlight=False))

    def __call__(self, text: str | None) -> None:
        from rich.text import Text

        if text is None:
            self._status.stop()
        else:
            self._status.update(Text(f"{text} …"))
            self._status.start()
