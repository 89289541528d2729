"""Arguments of commands: those of this process, and folders and key=value where Hydra is not needed."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from harness.errors import InputError, unknown
from harness.paths import user_path
from harness.terminal.phases import show_phases
from harness.terminal.remarks import divert_remarks

__all__ = ["command_arguments", "is_true", "separated"]

HELP = {"-h", "--help", "--hydra-help", "--version", "--cfg", "-c", "--info", "-i"}


def command_arguments(arguments: Sequence[str] | None) -> list[str]:
    """Return ``arguments``; if None, those of this process, which then is the command's alone.

    Its phases are shown, and the remarks of libraries are diverted.
    """
    if arguments is not None:
        return list(arguments)
    own = sys.argv[1:]
    divert_remarks()
    if not HELP & {word.partition("=")[0] for word in own}:
        show_phases()
    return own


def separated(arguments: Sequence[str], keys: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return the places and the values of ``keys``; a path with '=' that exists is a place.

    Raises InputError with the nearest of ``keys`` for another key or an option such as ``--name``.
    """
    places: list[str] = []
    values: dict[str, str] = {}
    for text in arguments:
        key, equals, value = text.partition("=")
        if equals and key in keys:
            values[key] = value
        elif text.startswith("-") and text.lstrip("-") in keys:
            raise InputError(f"{text} cannot be used: it is written {text.lstrip('-')}=VALUE.")
        elif text.startswith("-") or (equals and not user_path(text).exists()):
            raise unknown("option", key.lstrip("-"), keys)
        else:
            places.append(text)
    return places, values


def is_true(values: Mapping[str, str], key: str, default: bool = False) -> bool:
    """Return the truth of a value. Raises InputError if it is neither true nor false."""
    text = values.get(key, str(default)).lower()
    if text not in ("true", "false"):
        raise InputError(f"{key}={values[key]!r} cannot be used: it must be true or false.")
    return text == "true"
