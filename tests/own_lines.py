"""The lines of a command's standard error without those that name the phase that it is in."""

from __future__ import annotations

import re

PHASE = re.compile(r"\d\d:\d\d:\d\d  .* …")


def without_phases(error: str) -> str:
    """Return ``error`` without the lines of phases: whether one is written depends on the machine."""
    lines = error.splitlines(keepends=True)
    return "".join(line for line in lines if not PHASE.fullmatch(line.rstrip("\n")))
