"""Trial ownership: keeps a suspended worker from overwriting a trial that was reassigned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SPEC = "spec.json"  # written by the launcher, with the number of the attempt


class Superseded(Exception):
    """Raised if a later attempt owns the folder. The process must write nothing more there."""


def attempt_in(folder: Path) -> Any:
    """Return the attempt that owns ``folder``; None if there is none or the spec cannot be read."""
    try:
        return json.loads((folder / SPEC).read_text(encoding="utf-8")).get("attempt")
    except (OSError, ValueError, AttributeError):
        return None


def check(folder: Path, attempt: int) -> None:
    """Check ownership before a file of the trial changes. Raises Superseded.

    A change between this check and the write goes unnoticed. It would take a suspension of minutes
    within microseconds, and all files would still be intact.
    """
    other = attempt_in(folder)
    if other is not None and other != attempt:
        raise Superseded(f"{folder.name}: attempt {other} owns it, so this one ({attempt}) exits")
