"""The process of the mirror: ``python -m harness.tracking FOLDER``, started by a sweep.

Its standard input stays open while the sweep runs. One line on it reports the end of the sweep and
the folder of the report. The last line of standard output is the result as JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any, TextIO

from harness.tracking.mirroring import Mirroring

POLL_SECONDS = 1.0
ORPHAN_SECONDS = 6.0  # time to upload finished trials after the sweep was stopped or killed
UPLOAD_SECONDS = 600.0  # time to finish after the end of the sweep


class Sweep(threading.Thread):
    """Waits for the sweep's end: a line with the place of its report, or the end of its process."""

    def __init__(self, lines: TextIO, parent: int) -> None:
        super().__init__(daemon=True)
        self.asked: dict[str, Any] | None = None
        self.over = threading.Event()
        self._lines, self._parent = lines, parent

    def run(self) -> None:
        for line in self._lines:
            with contextlib.suppress(ValueError):
                self.asked = json.loads(line)
            break
        self._end()

    def wait(self) -> None:
        """Wait a moment. Also detects a parent that has exited while another process holds its pipe."""
        if not self.over.wait(POLL_SECONDS) and os.getppid() != self._parent:
            self._end()

    def _end(self) -> None:
        seconds = ORPHAN_SECONDS if self.asked is None else UPLOAD_SECONDS
        last = threading.Timer(seconds, os._exit, (3,))  # ends the process even if wandb hangs
        last.daemon = True
        last.start()
        self.over.set()


def _lock(folder: Path, sweep: Sweep) -> Any:
    """Wait until the mirror of an earlier run of this sweep has finished; None if it does not."""
    file = (folder / "wandb" / "lock").open("a")
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            if sweep.over.is_set() and sweep.asked is None:
                return None
            threading.Event().wait(POLL_SECONDS)


def mirror(options: argparse.Namespace, sweep: Sweep) -> dict[str, Any]:
    """Mirror the folder and return the result. Raises only errors that prevent all further work."""
    mirroring = Mirroring(options.folder, options)
    try:
        (options.folder / "wandb").mkdir(parents=True, exist_ok=True)
        lock = _lock(options.folder, sweep)
        if lock is None:
            return mirroring.answer()
        mirroring.begin()
        while not sweep.over.is_set():
            mirroring.scan()
            if mirroring.broken:
                break
            sweep.wait()
        else:
            mirroring.scan()
            mirroring.mend()
            if sweep.asked is not None and sweep.asked["report"] is not None:
                mirroring.report(Path(sweep.asked["report"]))
        mirroring.close()
    except ImportError as error:
        mirroring.warnings.append(f"wandb cannot be imported ({error})")
    except OSError as error:
        mirroring.warnings.append(str(error))
    return mirroring.answer()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m harness.tracking", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sweep", required=True)
    parser.add_argument("--mode", choices=("offline", "online"), required=True)
    parser.add_argument("--project", required=True)
    parser.add_argument("--entity")
    parser.add_argument("--parent", type=int, required=True)
    options = parser.parse_args()
    os.nice(10)
    # wandb must neither read the sweep's pipe nor write to our output.
    lines = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    sweep = Sweep(lines, options.parent)
    sweep.start()
    answer = mirror(options, sweep)
    with contextlib.suppress(OSError):  # the reader may have exited
        print(json.dumps(answer), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
