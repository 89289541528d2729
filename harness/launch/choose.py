"""Launchers by name. A launcher's module is imported only when a configuration asks for it."""

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
    """The functions that a launcher's module offers. ``config`` is of the launcher's own class."""

    def check(self, config: Any) -> None:
        """Raises InputError for what can be seen to be missing before anything is begun."""

    def make(self, config: Any, cache: Path, logs: Path, lock: int) -> Launcher:
        """Return the launcher. ``lock`` is the open lock file of the sweep, which workers hold too.

        Raises InputError where it cannot be used from here.
        """
        ...

    def describe(self, config: Any) -> str:
        """Return one line about where trials would run. Raises InputError where nothing answers."""
        ...


def check_launcher(config: LauncherConfig) -> None:
    """Raises InputError for what can be seen to be missing before anything is begun."""
    _module(config).check(config)


def launcher_for(config: LauncherConfig, cache: Path, logs: Path, lock: int) -> Launcher:
    """Return the launcher that ``config`` names. Raises InputError if it cannot be used here."""
    return _module(config).make(config, cache, logs, lock)


def describe_launcher(config: LauncherConfig) -> str:
    """Return one line about where trials would run. Raises InputError where nothing answers."""
    return _module(config).describe(config)


def _module(config: LauncherConfig) -> LauncherModule:
    if config.name not in LAUNCHERS:
        raise unknown("launcher.name", config.name, LAUNCHERS)
    return cast(LauncherModule, import_module(LAUNCHERS[config.name]))
