"""Choice of the configured launcher. Packages of one launcher are imported for it only."""

from __future__ import annotations

from pathlib import Path

from harness.config import LauncherConfig, RayConfig, SlurmConfig
from harness.launch import local
from harness.launch.launcher import Launcher


def launcher_for(config: LauncherConfig, cache: Path, logs: Path, lock: int) -> Launcher:
    """Build the configured launcher. Raises InputError if it cannot be used from here."""
    if isinstance(config, SlurmConfig):
        from harness.launch.clusters.slurm import SlurmLauncher

        return SlurmLauncher(config, cache, logs)
    if isinstance(config, RayConfig):
        from harness.launch.clusters.ray import RayLauncher

        return RayLauncher(config, cache, logs)
    return local.LocalLauncher(config, cache, logs, lock)


def check_launcher(config: LauncherConfig) -> None:
    """Check the launcher before anything starts. Raises InputError for missing requirements."""
    if isinstance(config, SlurmConfig):
        from harness.launch.clusters.slurm import check_slurm

        check_slurm(config)
    elif isinstance(config, RayConfig):
        from harness.launch.clusters.ray import check_ray

        check_ray(config)
    else:
        local.check_launcher(config)
