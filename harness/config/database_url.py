"""URL of a study's database, shown by host and name. The full URL stays in this process."""

from __future__ import annotations

import re

_WHOLE: dict[str, str] = {}  # shown URL → given URL; never written to a file


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
    """Remove everything before the host and after the path of a URL in ``text`` (URL or ``key=URL``).

    A file's URL (three slashes) has no host and is returned unchanged.
    """
    head, mark, rest = text.partition("://")
    if not mark or rest.startswith("/"):
        return text
    return head + mark + re.sub(r"\?[^@]*$", "", rest).rsplit("@", 1)[-1].partition("?")[0]
