"""Selection of a launcher by name. Its module is imported only if the configuration names it."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from harness.config import LauncherConfig
from harness.errors import unknown
from harness.launch.launcher import Launcher

# The name in a configuration → the module that offers ``check``, ``make`` and ``describe``.
LAUNCHERS: dict[str, str] = {
    "local": "harness.launch.local",
    "slurm": "harness.launch.clusters.slurm",
    "ray": "harness.launch.clusters.ray",
}


class LauncherModule(Protocol):
    """Functions that each launcher module offers.

    ``config`` is an instance of the launcher's own configuration class.
    """

    def check(self, config: Any) -> None:
        """Check what can be checked without starting anything. Raises InputError."""

    def make(self, config: Any, cache: Path, logs: Path, lock: int) -> Launcher:
        """Return the launcher. ``lock`` is the open lock file of the sweep, which workers hold too.

        Raises InputError if the launcher cannot be used from this machine.
        """
        ...

    def describe(self, config: Any) -> str:
        """Return one line about where trials would run. Raises InputError if it is unreachable."""
        ...


def check_launcher(config: LauncherConfig) -> None:
    """Check what can be checked without starting anything. Raises InputError."""
    _module(config).check(config)


def launcher_for(config: LauncherConfig, cache: Path, logs: Path, lock: int) -> Launcher:
    """Return the launcher that ``config`` names. Raises InputError if it cannot be used here."""
    return _module(config).make(config, cache, logs, lock)


def describe_launcher(config: LauncherConfig) -> str:
    """Return one line about where trials would run. Raises InputError if it is unreachable."""
    return _module(config).describe(config)


def _module(config: LauncherConfig) -> LauncherModule:
    if config.name not in LAUNCHERS:
        raise unknown("launcher.name", config.name, LAUNCHERS)
    return cast(LauncherModule, import_module(LAUNCHERS[config.name]))
