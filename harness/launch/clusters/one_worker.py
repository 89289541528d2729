"""One worker on another machine, for a SLURM job or a Ray actor: the local launcher with one worker."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from harness.config import LauncherConfig
from harness.launch.local import LocalLauncher


def shared_fields(config: LauncherConfig, threads: int) -> dict[str, Any]:
    """Return the part of ``config`` that the worker's machine receives: every launcher's fields."""
    common = {field.name: getattr(config, field.name) for field in fields(LauncherConfig)}
    threads = config.threads or threads
    return {**common, "name": "local", "workers": 1, "devices": None, "threads": threads}


def one_worker(
    told: Mapping[str, Any], cache: str | Path, logs: str | Path, on_gpu: bool
) -> LocalLauncher:
    """Return a local launcher with one worker on the devices that the cluster made visible."""
    if not on_gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the node may have others, which are not ours
    nothing = os.open(os.devnull, os.O_RDONLY)  # the sweep's lock lies on the driver's machine
    return LocalLauncher(LauncherConfig(**told), Path(cache), Path(logs), nothing)
