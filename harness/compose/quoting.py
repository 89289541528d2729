"""Quotes and backslashes in typed values: YAML's rules in double quotes, literal elsewhere."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["escaped", "pieces", "shown", "unread_escape"]

# The parts of Hydra's lexer: interpolations, quoted texts, escaped characters, other characters.
_PIECE = re.compile(
    r"""\$\{[^}]+\}|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\\[\\()\[\]{}:=, \t]|.""", re.DOTALL
)
_ESCAPE = re.compile(r'\\(x[\da-fA-F]{2}|u[\da-fA-F]{4}|U[\da-fA-F]{8}|[ntr"\\])')
_UNREAD = re.compile(r"(?<!\\)(?:\\\\)*(\\[ntr])")
_NAMED = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}
_WRITTEN = {text: f"\\{name}" for name, text in _NAMED.items()}
# Quotes, backslashes, and characters that a terminal or a page does not show.
_HIDDEN = re.compile(r'["\\\x00-\x1f\x7f-\xa0\xad\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]')
_RESERVED = {"true", "false", "null", "nan", "inf"}


def pieces(value: str) -> list[str]:
    """Split ``value`` into quoted texts with their quotes, interpolations and the rest, in order."""
    return _PIECE.findall(value)


def escaped(text: str) -> str:
    r"""Replace ``\n``, ``\t``, ``\r``, ``\"``, ``\\``, ``\xXX``, ``\uXXXX``, ``\UXXXXXXXX`` in a text.

    Any other backslash is kept, so that patterns such as ``\.`` stay as typed.
    """
    return _ESCAPE.sub(_character, text)


def _character(match: re.Match[str]) -> str:
    name = match[1]
    if name in _NAMED:
        return _NAMED[name]
    number = int(name[1:], 16)
    is_character = number < 0x110000 and not 0xD800 <= number < 0xE000
    return chr(number) if is_character else match[0]


def unread_escape(value: str) -> str | None:
    r"""Return the first ``\n``, ``\t`` or ``\r`` outside of double quotes, where it stays literal."""
    skipped = (len(piece) > 1 and piece[0] in '"$' for piece in pieces(value))
    plain = ("\0" if skip else piece for skip, piece in zip(skipped, pieces(value), strict=True))
    found = _UNREAD.search("".join(plain))
    return found[1] if found else None


def shown(value: Any) -> str:
    """Write ``value`` so that the grammar reads exactly it."""
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(shown, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{shown(item)}" for key, item in value.items()) + "}"
    if isinstance(value, str):
        is_word = re.fullmatch(r"[A-Za-z_][\w.-]*", value, re.ASCII)
        return value if is_word and value.lower() not in _RESERVED else _quoted(value)
    return "null" if value is None else str(value)


def _quoted(text: str) -> str:
    def written(match: re.Match[str]) -> str:
        code = ord(match[0])
        return _WRITTEN.get(match[0], f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")

    return '"' + _HIDDEN.sub(written, text) + '"'
