"""Settings of the SLURM and Ray launchers, beyond the shared LauncherConfig."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.config.strict import require
from harness.config.sweep import LauncherConfig

MODULE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+/-]*")
OPTION = re.compile(r"[a-z][a-z0-9_-]*")
LINE = re.compile(r"[^\x00-\x1f\x7f\x85\u2028\u2029]*")  # a job script is read line by line
# Options of sbatch that name the program, or set the variables by which it is found.
THAT_RUN = ("wrap", "export", "export-file", "get-user-env", "container", "bb", "bbf")


@dataclass(frozen=True)
class SlurmConfig(LauncherConfig):
    """Launcher that submits one job per trial to a SLURM cluster."""

    max_jobs: int
    partition: str | None
    account: str | None
    time_minutes: int  # of one job
    gpus_per_task: int
    cpus_per_task: int
    mem_gb: float | None
    modules: list[str]  # environment modules, by name; no configuration holds code to run
    options: Mapping[str, Any]  # of sbatch

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("max_jobs", "cpus_per_task"):
            require(getattr(self, name) >= 1, f"launcher.{name}", getattr(self, name), "at least 1")
        accepted = "at least 3: a checkpoint is begun 90 seconds before the end"
        require(self.time_minutes >= 3, "launcher.time_minutes", self.time_minutes, accepted)
        require(self.gpus_per_task >= 0, "launcher.gpus_per_task", self.gpus_per_task, "0 or more")
        good = self.mem_gb is None or self.mem_gb > 0
        require(good, "launcher.mem_gb", self.mem_gb, "null or above 0")
        for module in self.modules:
            good, accepted = MODULE.fullmatch(module), "names of modules, like cuda/12.4"
            require(bool(good), "launcher.modules", module, accepted)
        for name in ("partition", "account"):
            value = getattr(self, name)
            good = value is None or LINE.fullmatch(value)
            require(bool(good), f"launcher.{name}", value, "one line")
        for name, value in self.options.items():
            _check_option(name, value)
        _not_ours(self, "workers", "launcher.max_jobs")
        _not_ours(self, "devices", "launcher.gpus_per_task")


@dataclass(frozen=True)
class RayConfig(LauncherConfig):
    """Launcher that runs one actor per worker on an existing Ray cluster."""

    address: str
    num_gpus: float  # of one worker
    num_cpus: float
    shared: bool  # whether runs_dir is the same folder on all nodes
    working_dir: str | None

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.address), "launcher.address", self.address, "auto or an address")
        require(self.num_gpus >= 0, "launcher.num_gpus", self.num_gpus, "0 or more")
        require(self.num_cpus > 0, "launcher.num_cpus", self.num_cpus, "above 0")
        _not_ours(self, "devices", "launcher.num_gpus")


def _check_option(name: str, value: Any) -> None:
    """Raise InputError for text that would add a line to the job's script, or run a command."""
    named = f"launcher.options.{name}"
    require(bool(OPTION.fullmatch(name)), named, value, "an option of sbatch, without its dashes")
    scalar = isinstance(value, str | int | float)
    require(scalar and bool(LINE.fullmatch(str(value))), named, value, "one line")
    accepted = "left out: it would choose the program of a job; jobs inherit the shell's variables"
    require(name.replace("_", "-") not in THAT_RUN, named, value, accepted)


def _not_ours(config: LauncherConfig, name: str, instead: str) -> None:
    value = getattr(config, name)
    accepted = f"null with launcher={config.name}, where {instead} says it"
    require(value is None, f"launcher.{name}", value, accepted)


LauncherConfig.BY_NAME.update(slurm=SlurmConfig, ray=RayConfig)
