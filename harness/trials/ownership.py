"""Whose a trial's folder is: a worker that was paused may wake when another one has its trial."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SPEC = "spec.json"  # written by who hands a trial out, with the number of the attempt


class Superseded(Exception):
    """A later attempt has the folder: whoever is told this writes nothing there any more."""


def attempt_in(folder: Path) -> Any:
    """The attempt that ``folder`` was handed to; None where nobody did, or that cannot be read."""
    try:
        return json.loads((folder / SPEC).read_text(encoding="utf-8")).get("attempt")
    except (OSError, ValueError, AttributeError):
        return None


def check(folder: Path, attempt: int) -> None:
    """Asked before what would change the trial. Raises Superseded.

    What is written between the question and the answer's use is not seen: that takes a pause of
    minutes within microseconds, and the files are whole even then.
    """
    other = attempt_in(folder)
    if other is not None and other != attempt:
        raise Superseded(f"{folder.name}: attempt {other} has it, this one ({attempt}) leaves")
