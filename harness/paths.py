"""Paths as users write them: ~ is the home folder, even where the shell did not expand it."""

from __future__ import annotations

from pathlib import Path


def user_path(text: str | Path) -> Path:
    """Expand ``~`` and ``~user`` in ``text``; a name that only begins with ``~`` stays."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # no such user: it is a file such as ~draft.jsonl
        return Path(text)
