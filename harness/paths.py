"""A path as a user writes it: ~ stands for the home folder, whatever the shell left of it."""

from __future__ import annotations

from pathlib import Path


def user_path(text: str | Path) -> Path:
    """``text`` with ``~`` and ``~user`` expanded; a name that only begins with ``~`` stays."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # no such user: it is a file such as ~draft.jsonl
        return Path(text)
