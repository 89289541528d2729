"""Checks of the launchers: this machine, or a cluster that it can reach."""

from __future__ import annotations

from collections.abc import Iterator

from harness.doctor.finding import OK, Line, Setup


def check_launcher(setup: Setup) -> Iterator[Line]:
    """Check the launcher. Raises InputError if it cannot start anything."""
    from harness.launch import choose

    config = setup.sweep.launcher
    choose.check_launcher(config)
    yield Line("launcher", OK, choose.describe_launcher(config))
