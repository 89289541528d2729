"""Paths as users write them: ``~`` is expanded even if the shell did not do so."""

from __future__ import annotations

from pathlib import Path


def user_path(text: str | Path) -> Path:
    """Expand ``~`` and ``~user`` in ``text``. A file name that only begins with ``~`` is kept."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # no such user: it is a file such as ~draft.jsonl
        return Path(text)
