"""Tasks for a worker before the sweep starts: checks of configurations, memory measurements."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.config import TrialConfig
from harness.errors import DiskFull, InputError
from harness.launch.launcher import DISK_FULL, ERROR, WAITING, Ended, Launcher
from harness.records import read_json
from harness.records.disk_full import stopped
from harness.search.sweep_folder import SweepFolder
from harness.terminal.phases import phase, phase_in

POLL_SECONDS = 0.03


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
    (answer,) = ask(launcher, {folder.path / "check": spec}, retries)
    return answer


def ask(
    launcher: Launcher, tasks: Mapping[Path, dict[str, Any]], retries: int
) -> list[dict[str, Any]]:
    """Return workers' answers to ``tasks``, folder → specification; retried if a worker crashes.

    Waits until all tasks have ended. Raises the error of the first of them that has one: InputError
    for invalid input, DiskFull, and NoWorkerAnswered after more than ``retries`` crashes.
    """
    for path in tasks:
        path.mkdir(parents=True, exist_ok=True)
        (path / ERROR).unlink(missing_ok=True)
    waiting, crashes = list(tasks), dict.fromkeys(tasks, 0)
    found: dict[Path, dict[str, Any] | Exception] = {}
    with phase(WAITING) as show:
        while len(found) < len(tasks):
            while waiting and launcher.has_room():
                launcher.submit(waiting[0], tasks[waiting.pop(0)])
            for end in launcher.poll():
                path = end.folder
                crashes[path] += 1
                outcome = _outcome(end, crashes[path], retries)
                if outcome is None:
                    waiting.append(path)
                else:
                    found[path] = outcome
            show(next(filter(None, map(phase_in, tasks)), WAITING))
            time.sleep(POLL_SECONDS)
    answers = []
    for path in tasks:
        outcome = found[path]
        if isinstance(outcome, Exception):
            raise outcome
        answers.append(outcome)
    return answers


def _outcome(end: Ended, times: int, retries: int) -> dict[str, Any] | Exception | None:
    """Return the answer or the error of a task that ended for the ``times``-th time.

    None if its worker crashed and the task is to be given to another.
    """
    if end.rejected is not None:
        return InputError(end.rejected)
    answer = read_json(end.folder / "answer.json")
    if answer is not None:
        return answer
    if end.lost == DISK_FULL:
        return DiskFull(stopped(end.folder))
    if times > retries or (end.folder / ERROR).is_file():  # a Python error would recur
        return NoWorkerAnswered(times, end.lost, end.folder)
    return None
