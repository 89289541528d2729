"""One worker on another machine: what a SLURM job or a Ray actor holds, the local launcher with one."""

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
    """A launcher of this machine with one worker, on what the cluster made visible to this process."""
    if not on_gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the node may have some: they are not ours
    nothing = os.open(os.devnull, os.O_RDONLY)  # the sweep's lock is the driver's machine's
    return LocalLauncher(LauncherConfig(**told), Path(cache), Path(logs), nothing)
