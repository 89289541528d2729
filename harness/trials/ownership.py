"""Trial ownership: keeps a suspended worker from overwriting a trial that was reassigned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SPEC = "spec.json"  # written by the launcher, with the number of the attempt


class Superseded(Exception):
    """A later attempt owns the folder; the process that gets this writes nothing more there."""


def attempt_in(folder: Path) -> Any:
    """Return the attempt that owns ``folder``; None if none does, or the spec cannot be read."""
    try:
        return json.loads((folder / SPEC).read_text(encoding="utf-8")).get("attempt")
    except (OSError, ValueError, AttributeError):
        return None


def check(folder: Path, attempt: int) -> None:
    """Check ownership before the trial's files change. Raises Superseded.

    A change of ownership between this check and the write is not seen. That would take a pause of
    minutes within microseconds, and the files are intact even then.
    """
    other = attempt_in(folder)
    if other is not None and other != attempt:
        raise Superseded(f"{folder.name}: attempt {other} has it, this one ({attempt}) leaves")
