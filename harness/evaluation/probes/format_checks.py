"""Verifiable format instructions, each checked by a program.

After IFEval, Zhou et al. 2023, arXiv:2311.07911 (verifiable instructions), with our own names and
interpretations, so the scores of the two are not comparable. Answers are checked unchanged
(IFEval's strict mode).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from harness.errors import InputError, unknown

ITEM = re.compile(r"\s*(?:[-*•]|\d+[.)])\s+\S")
SENTENCE = re.compile(r"[.!?]+(?:[\"')\]]*)(?:\s|$)")


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", text)


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def _has(text: str, phrase: str) -> int:
    """Count the occurrences of ``phrase`` in ``text`` as whole words, ignoring case."""
    return len(re.findall(rf"(?<!\w){re.escape(phrase)}(?!\w)", text, flags=re.IGNORECASE))


def _json(text: str) -> Any:
    """Parse ``text``, with or without a code fence; None if it is not JSON."""
    fenced = re.fullmatch(r"```(?:json)?\s*\n(.*?)\n?```", text.strip(), flags=re.DOTALL)
    try:
        return json.loads(fenced.group(1) if fenced else text)
    except (ValueError, RecursionError):
        return None


def _letters(text: str) -> list[str]:
    return [character for character in text if character.lower() != character.upper()]


def _keys(text: str, keys: list[str]) -> bool:
    value = _json(text)
    return isinstance(value, dict) and set(value) == set(keys)


# name → (function that checks a text, key of ``ACCEPTED`` for the check's value)
CHECKS: dict[str, tuple[Callable[[str, Any], bool], str]] = {
    "min_words": (lambda text, n: len(_words(text)) >= n, "number"),
    "max_words": (lambda text, n: len(_words(text)) <= n, "number"),
    "max_characters": (lambda text, n: len(text) <= n, "number"),
    "sentences": (lambda text, n: len(SENTENCE.findall(text)) == n, "number"),
    "max_sentences": (lambda text, n: len(SENTENCE.findall(text)) <= n, "number"),
    "lines": (lambda text, n: len(_lines(text)) == n, "number"),
    "min_lines": (lambda text, n: len(_lines(text)) >= n, "number"),
    "paragraphs": (
        lambda text, n: len([p for p in re.split(r"\n\s*\n", text) if p.strip()]) == n,
        "number",
    ),
    "list_items": (lambda text, n: sum(bool(ITEM.match(s)) for s in _lines(text)) == n, "number"),
    "contains": (lambda text, all_of: all(_has(text, word) for word in all_of), "words"),
    "excludes": (lambda text, none_of: not any(_has(text, word) for word in none_of), "words"),
    "one_of": (
        lambda text, options: text.strip().strip(".!").casefold() in map(str.casefold, options),
        "words",
    ),
    "at_least": (
        lambda text, wanted: all(_has(text, word) >= n for word, n in wanted.items()),
        "counts",
    ),
    "starts_with": (lambda text, phrase: text.lstrip().startswith(phrase), "text"),
    "ends_with": (lambda text, phrase: text.rstrip().endswith(phrase), "text"),
    "line_starts": (
        lambda text, starts: all(s.lstrip().startswith(tuple(starts)) for s in _lines(text)),
        "words",
    ),
    "lowercase": (lambda text, yes: all(c == c.lower() for c in _letters(text)) == yes, "yes"),
    "uppercase": (lambda text, yes: all(c == c.upper() for c in _letters(text)) == yes, "yes"),
    "no_commas": (lambda text, yes: ("," not in text) == yes, "yes"),
    "no_digits": (lambda text, yes: (not re.search(r"\d", text)) == yes, "yes"),
    "quoted": (lambda text, yes: bool(re.fullmatch(r"\s*\".+\"\s*", text, re.DOTALL)), "yes"),
    "title": (lambda text, yes: bool(re.search(r"<<[^<>\n]+>>", text)), "yes"),
    "json": (lambda text, yes: _json(text) is not None, "yes"),
    "json_keys": (_keys, "words"),
}
ACCEPTED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "number": (
        lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 0,
        "a whole number",
    ),
    "words": (
        lambda v: isinstance(v, list) and bool(v) and all(isinstance(x, str) and x for x in v),
        "a list of words or phrases",
    ),
    "counts": (
        lambda v: isinstance(v, dict) and bool(v) and all(type(n) is int for n in v.values()),
        "an object of words and how often each is wanted",
    ),
    "text": (lambda v: isinstance(v, str) and bool(v.strip()), "a piece of text"),
    "yes": (lambda v: v is True, "true"),
}


def kept(text: str, checks: Mapping[str, Any]) -> list[bool]:
    """Check ``text`` against each of ``checks`` (name → value). An empty answer fails all of them."""
    if not text.strip():
        return [False] * len(checks)
    return [CHECKS[name][0](text, value) for name, value in checks.items()]


def check_form(checks: Mapping[str, Any], where: str) -> None:
    """Raise InputError for a check that does not exist or does not accept such a value."""
    for name, value in checks.items():
        if name not in CHECKS:
            raise unknown(f"check in {where}", name, CHECKS)
        accepts, words = ACCEPTED[CHECKS[name][1]]
        if not accepts(value):
            raise InputError(f"{where}: the check {name!r} takes {words}, not {value!r}.")
