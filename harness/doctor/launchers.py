"""Check of the launcher: this machine, or a cluster that it can reach."""

from __future__ import annotations

from collections.abc import Iterator

from harness.doctor.finding import OK, Finding, Setup


def check_launcher(setup: Setup) -> Iterator[Finding]:
    """Check the launcher. Raises InputError if it cannot start workers."""
    from harness.launch import choose

    config = setup.sweep.launcher
    choose.check_launcher(config)
    yield Finding("launcher", OK, choose.describe_launcher(config))
