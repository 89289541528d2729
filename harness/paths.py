"""Paths as users write them, with ``~`` expanded, and the folder of what is kept for a user."""

from __future__ import annotations

import os
from pathlib import Path


def user_path(text: str | Path) -> Path:
    """Expand ``~`` and ``~user`` in ``text``. A file name that only begins with ``~`` is kept."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # no such user: it is a file such as ~draft.jsonl
        return Path(text)


def cache_folder() -> Path:
    """Return the folder for what all sweeps of a user share. It need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "harness"
