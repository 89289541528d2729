"""What a worker is asked before anything is trained."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from harness.config import TrialConfig
from harness.errors import InputError
from harness.launch.launcher import Launcher
from harness.records import read_json
from harness.search.folder import SweepFolder

POLL_SECONDS = 0.03


def check_configs(
    launcher: Launcher, folder: SweepFolder, configs: Sequence[TrialConfig], opens_test: bool
) -> dict[str, Any]:
    """What a worker says of ``configs`` without training them. Raises InputError."""
    path = folder.path / "check"
    path.mkdir(parents=True, exist_ok=True)
    spec = {"kind": "check", "opens_test": opens_test, "configs": [asdict(c) for c in configs]}
    launcher.submit(path, spec)
    while True:
        for end in launcher.poll():
            if end.rejected is not None:
                raise InputError(end.rejected)
            answer = read_json(path / "answer.json")
            if answer is None:
                raise RuntimeError(
                    f"the first worker died with exit code {end.lost}; see {folder.path}/workers/"
                )
            return answer
        time.sleep(POLL_SECONDS)
