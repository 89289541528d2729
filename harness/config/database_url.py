"""URL of a study's database, shown by host and name. The full URL stays in this process."""

from __future__ import annotations

import re

_WHOLE: dict[str, str] = {}  # shown → as it was given; never written, and gone with the process


def keep_whole(url: str) -> str:
    """Return ``url`` without user, password and options; ``whole`` finds the full URL by it."""
    shown = hide_secrets(url)
    if shown != url or shown not in _WHOLE:
        _WHOLE[shown] = url
    return shown


def whole(shown: str) -> str:
    """Return the full URL that ``shown`` stands for."""
    return _WHOLE.get(shown, shown)


def hide_secrets(text: str) -> str:
    """``text``, one URL or ``key=URL``, without what stands before its host and after its path.

    A file's URL (three slashes) has no host: nothing is taken from it.
    """
    head, mark, rest = text.partition("://")
    if not mark or rest.startswith("/"):
        return text
    return head + mark + re.sub(r"\?[^@]*$", "", rest).rsplit("@", 1)[-1].partition("?")[0]
