"""The launcher that a configuration names; what only one of them needs is imported for it alone."""

from __future__ import annotations

from pathlib import Path

from harness.config import LauncherConfig, RayConfig, SlurmConfig
from harness.launch import local
from harness.launch.launcher import Launcher


def launcher_for(config: LauncherConfig, cache: Path, logs: Path, lock: int) -> Launcher:
    """Raises InputError where it cannot be used from here."""
    if isinstance(config, SlurmConfig):
        from harness.launch.clusters.slurm import SlurmLauncher

        return SlurmLauncher(config, cache, logs)
    if isinstance(config, RayConfig):
        from harness.launch.clusters.ray import RayLauncher

        return RayLauncher(config, cache, logs)
    return local.LocalLauncher(config, cache, logs, lock)


def check_launcher(config: LauncherConfig) -> None:
    """Raises InputError for what can be seen to be missing before anything is begun."""
    if isinstance(config, SlurmConfig):
        from harness.launch.clusters.slurm import check_slurm

        check_slurm(config)
    elif isinstance(config, RayConfig):
        from harness.launch.clusters.ray import check_ray

        check_ray(config)
    else:
        local.check_launcher(config)
