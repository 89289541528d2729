"""What a worker is asked before anything is trained."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from harness.config import TrialConfig
from harness.errors import DiskFull, InputError
from harness.launch.launcher import DISK_FULL, Launcher
from harness.records import read_json
from harness.records.full import stopped
from harness.search.folder import SweepFolder

POLL_SECONDS = 0.03


def check_configs(
    launcher: Launcher,
    folder: SweepFolder,
    configs: Sequence[TrialConfig],
    opens_test: bool,
    retries: int = 0,
) -> dict[str, Any]:
    """What a worker says of ``configs`` without training them; asked again where it dies.

    Raises InputError, also where workers died more than ``retries`` times.
    """
    path = folder.path / "check"
    path.mkdir(parents=True, exist_ok=True)
    spec = {"kind": "check", "opens_test": opens_test, "configs": [asdict(c) for c in configs]}
    launcher.submit(path, spec)
    died = 0
    while True:
        for end in launcher.poll():
            if end.rejected is not None:
                raise InputError(end.rejected)
            answer = read_json(path / "answer.json")
            if answer is not None:
                return answer
            if end.lost == DISK_FULL:
                raise DiskFull(stopped(path))
            died += 1
            if died > retries:
                raise RuntimeError(
                    f"the first worker died {died} times, the last time with exit code {end.lost}: "
                    f"see {folder.path}/workers/"
                )
            launcher.submit(path, spec)
        time.sleep(POLL_SECONDS)
