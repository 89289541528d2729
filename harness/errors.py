"""What a user did wrong, as opposed to what we did wrong."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Input that cannot be used: the message names the field, the value and what is accepted.

    The entries turn it into that one message and exit code 2, without a traceback.
    """


def unknown(
    what: str, name: object, known: Iterable[str], listed: Iterable[str] | None = None
) -> InputError:
    """The error for a name that is not among ``known``: nearest names, then all of ``listed``."""
    names = sorted(known)
    listed = names if listed is None else sorted(listed)
    near = nearest(name, names)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return InputError(f"Unknown {what} '{name}'.{hint} Known: {', '.join(listed) or 'none'}.")


def nearest(name: object, known: Iterable[str]) -> list[str]:
    """At most three of ``known`` that are like ``name``, whatever the case and the hyphens."""
    plain: dict[str, str] = {}
    for each in known:
        plain.setdefault(_plain(each), each)
    return [plain[one] for one in difflib.get_close_matches(_plain(str(name)), plain, 3, 0.5)]


def _plain(name: str) -> str:
    return name.casefold().replace("-", "_")


class Resumable(Exception):
    """What the sweep needs is away. The message says what; the same command goes on once it is back.

    The entries turn it into that one message and exit code 75, without a traceback.
    """


class DiskFull(Resumable):
    """There is no room for what has to be written."""
