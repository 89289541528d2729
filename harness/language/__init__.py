"""Language of a report: sentences stand in English in the code, and in a catalogue for any other.

``say("{n} trials failed.", n=3)`` is the sentence itself in English. In Japanese it is the value of
that template in ``ja.json``, with the same named places. A template without a translation stays
English, and a test fails.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.resources import files
from typing import Literal, get_args

from harness.errors import InputError

__all__ = [
    "LANGUAGES",
    "Language",
    "catalogue",
    "counted",
    "in_language",
    "language",
    "phrase",
    "say",
    "say_each",
]

Language = Literal["en", "ja"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
_current: ContextVar[Language] = ContextVar("language", default="en")


def say(template: str, /, **values: object) -> str:
    """Return the sentence in the current language, with ``values`` in its named places.

    Without values braces are text. Values are inserted as they are: a format escapes what it writes.
    """
    text = catalogue(_current.get()).get(template, template)
    return text.format(**values) if values else text


def say_each(*texts: str) -> tuple[str, ...]:
    """Return each text in the current language, such as the headers of a table."""
    return tuple(say(text) for text in texts)


def counted(n: int, one: str, many: str, /, **values: object) -> str:
    """Return the sentence for a number: ``one`` if it is 1, else ``many``; both know it as {n}."""
    return say(one if n == 1 else many, n=n, **values)


def phrase(text: str) -> str:
    """Return ``text`` as it is. Marks a constant that ``say`` translates when it is shown."""
    return text


def language() -> Language:
    """Return the language that ``say`` speaks here."""
    return _current.get()


@contextmanager
def in_language(name: str) -> Iterator[None]:
    """Context in which ``say`` speaks this language. Raises InputError for one it does not know."""
    if name not in LANGUAGES:
        accepted = " or ".join(LANGUAGES)
        raise InputError(f"language={name!r} cannot be used: it must be {accepted}.")
    before = _current.set(name)
    try:
        yield
    finally:
        _current.reset(before)


@cache
def catalogue(name: Language) -> Mapping[str, str]:
    """Return English template → translation; empty for English."""
    if name == "en":
        return {}
    return json.loads(files("harness.language").joinpath(f"{name}.json").read_text("utf-8"))
