"""Tasks for a worker before the sweep starts: checks of configurations, memory measurements."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.config import TrialConfig
from harness.errors import DiskFull, InputError
from harness.launch.launcher import DISK_FULL, ERROR, Launcher
from harness.records import read_json
from harness.records.disk_full import stopped
from harness.search.sweep_folder import SweepFolder
from harness.terminal.phases import phase, phase_in

POLL_SECONDS = 0.03
WAITING = "waiting for a worker, which imports torch and transformers"


class NoWorkerAnswered(RuntimeError):
    """Raised if all workers exited without an answer."""

    def __init__(self, times: int, code: int | None, path: Path) -> None:
        self.code = code
        error = _last_line(path / ERROR)
        if error is None:
            why = f"the first worker exited {times} times, the last time with exit code {code}"
        else:
            why = f"the first worker's task before the sweep ended in {error}"
        super().__init__(f"{why}: see {path.parent}/workers/")


def _last_line(file: Path) -> str | None:
    """Return the last line of a traceback file; None if there is none."""
    try:
        lines = file.read_text(encoding="utf-8").strip().splitlines()
    except OSError:
        return None
    return lines[-1] if lines else None


def check_configs(
    launcher: Launcher,
    folder: SweepFolder,
    configs: Sequence[TrialConfig],
    opens_test: bool,
    retries: int = 0,
) -> dict[str, Any]:
    """Have a worker check ``configs`` without training. Raises as ``ask`` does."""
    spec = {"kind": "check", "opens_test": opens_test, "configs": [asdict(c) for c in configs]}
    return ask(launcher, folder.path / "check", spec, retries)


def ask(launcher: Launcher, path: Path, spec: dict[str, Any], retries: int) -> dict[str, Any]:
    """Return a worker's answer to the task in folder ``path``; retried if the worker crashes.

    Raises InputError for invalid input, DiskFull, and NoWorkerAnswered after more than ``retries``
    crashes.
    """
    path.mkdir(parents=True, exist_ok=True)
    (path / ERROR).unlink(missing_ok=True)
    launcher.submit(path, spec)
    crashes = 0
    with phase(WAITING) as show:
        while True:
            for end in launcher.poll():
                if end.rejected is not None:
                    raise InputError(end.rejected)
                answer = read_json(path / "answer.json")
                if answer is not None:
                    return answer
                if end.lost == DISK_FULL:
                    raise DiskFull(stopped(path))
                crashes += 1
                if crashes > retries or (path / ERROR).is_file():  # a Python error would recur
                    raise NoWorkerAnswered(crashes, end.lost, path)
                launcher.submit(path, spec)
            show(phase_in(path) or WAITING)
            time.sleep(POLL_SECONDS)
