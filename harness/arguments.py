"""Arguments of commands that take folders and key=value, where Hydra is not needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.errors import InputError, unknown
from harness.paths import user_path

__all__ = ["is_true", "separated"]


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
