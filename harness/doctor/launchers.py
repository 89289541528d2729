"""Checks of the launchers: this machine, or a cluster that it can reach."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

from harness.config import RayConfig, SlurmConfig
from harness.doctor.finding import OK, Line, Setup, version_of
from harness.errors import InputError


def check_launcher(setup: Setup) -> Iterator[Line]:
    """Check the launcher. Raises InputError if it cannot start anything."""
    from harness.launch.choose import check_launcher as check
    from harness.launch.local import visible_devices

    config = setup.sweep.launcher
    check(config)
    if isinstance(config, SlurmConfig):
        yield "launcher", OK, f"slurm, submitit {version_of('submitit')}: {_partition(config)}"
    elif isinstance(config, RayConfig):
        from harness.launch.clusters.ray import reach

        reach(config)
        fact = f"ray {version_of('ray')} at {config.address}; {config.num_gpus:g} GPUs a worker"
        yield "launcher", OK, fact
    else:
        workers = config.workers or max(1, len(config.devices or visible_devices()))
        yield "launcher", OK, f"local, {workers} worker{'s' * (workers > 1)}"


def _partition(config: SlurmConfig) -> str:
    """Describe the partition in one line, as the scheduler reports it."""
    named = [f"--partition={config.partition}"] if config.partition else []
    done = subprocess.run(
        ["sinfo", "--noheader", "--format=%P %a, %D nodes, at most %l", *named],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        why = (done.stderr.strip().splitlines() or ["no such partition"])[0]
        raise InputError(f"launcher=slurm: sinfo: {why}")
    default = [line for line in lines if "*" in line.split()[0]]
    return "partition " + (default or lines)[0]
