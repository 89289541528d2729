"""Launchers of other machines: SLURM and Ray. What they share with the local one is LauncherConfig."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.config.sweep import LauncherConfig
from harness.strict import require


@dataclass(frozen=True)
class SlurmConfig(LauncherConfig):
    """A job a trial on a SLURM cluster."""

    max_jobs: int
    partition: str | None
    account: str | None
    time_minutes: int  # of one job
    gpus_per_task: int
    cpus_per_task: int
    mem_gb: float | None
    setup: list[str]  # lines of shell before the worker
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
        _not_ours(self, "workers", "launcher.max_jobs")
        _not_ours(self, "devices", "launcher.gpus_per_task")


@dataclass(frozen=True)
class RayConfig(LauncherConfig):
    """An actor a worker on a Ray cluster that is there."""

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


def _not_ours(config: LauncherConfig, name: str, instead: str) -> None:
    value = getattr(config, name)
    accepted = f"null with launcher={config.name}, where {instead} says it"
    require(value is None, f"launcher.{name}", value, accepted)


LauncherConfig.KINDS.update(slurm=SlurmConfig, ray=RayConfig)
