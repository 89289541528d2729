"""Language of a report: sentences stand in English in the code, and in a catalogue for any other.

``say("{n} trials failed.", n=3)`` is the sentence itself in English. In Japanese it is the value of
that template in ``ja.json``, with the same named places. A template without a translation stays
English, and a test fails.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.resources import files
from string import Formatter
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
    "recorded",
    "recorded_catalogue",
    "retold",
    "say",
    "say_each",
]

Language = Literal["en", "ja"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
LONGEST = 1000  # characters of a recorded sentence; a longer text is a library's
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


def recorded(template: str, /, **values: object) -> str:
    """Return a sentence for a record, which is always in English; ``retold`` translates it."""
    return template.format(**values) if values else template


def retold(text: str) -> str:
    """Return a recorded sentence in the current language, and its values that are sentences too.

    What no catalogue of recorded sentences has stays as it is, such as the message of a library.
    """
    patterns = _recorded_patterns(_current.get()) if len(text) <= LONGEST else ()
    for pattern, translation in patterns:
        found = pattern.fullmatch(text)
        if found is not None:
            return translation.format(**{name: retold(v) for name, v in found.groupdict().items()})
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
    return _read(f"{name}.json") if name != "en" else {}


@cache
def recorded_catalogue(name: Language) -> Mapping[str, str]:
    """Return the same for the sentences of records."""
    return _read(f"{name}_recorded.json") if name != "en" else {}


def _read(file: str) -> Mapping[str, str]:
    return json.loads(files("harness.language").joinpath(file).read_text("utf-8"))


@cache
def _recorded_patterns(name: Language) -> list[tuple[re.Pattern[str], str]]:
    """Return (pattern of an English sentence, translation), those of the most letters first."""
    found = []
    for template, translation in recorded_catalogue(name).items():
        pattern, own = "", 0
        for literal, place, _, _ in Formatter().parse(template):
            pattern, own = pattern + re.escape(literal), own + len(literal)
            if place is not None:
                again = f"(?P<{place}>" in pattern
                pattern += f"(?P={place})" if again else f"(?P<{place}>.+)"
        found.append((own, re.compile(pattern, re.DOTALL), translation))
    return [(pattern, text) for _, pattern, text in sorted(found, key=lambda each: -each[0])]
