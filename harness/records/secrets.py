"""Redaction of secrets in written files, by variable names and by patterns."""

from __future__ import annotations

import os
import re
from typing import Any, TextIO

HIDDEN = "***"
SHORTEST = 8  # characters; shorter values occur in ordinary text and are kept

_ENDINGS = ("token", "key", "secret", "password", "passwd", "credential", "credentials")
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_USER_INFO = re.compile(r"(://)[^/@\s]+@")
_IN_QUERY = re.compile(
    r"([?&](?:password|passwd|pwd|token|secret|api_?key|sslpassword)=)[^&\s'\"]+", re.I
)
_KINDS = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|AKIA[A-Z0-9]{16})\b"
)  # fmt: skip
_BEARER = re.compile(r"(Bearer\s+)[A-Za-z0-9._~+/-]{8,}=*", re.I)


def is_secret_name(name: str) -> bool:
    """Return whether a word of ``name`` ends like a secret: true for hf_token, false for tokenize."""
    words = (word.lower() for word in _WORDS.findall(name))
    return any(word.rstrip("s").endswith(_ENDINGS) for word in words)


def without_user_info(text: str) -> str:
    """Mask user names, passwords and query parameters that hold secrets in the URLs of ``text``."""
    return _IN_QUERY.sub(rf"\1{HIDDEN}", _USER_INFO.sub(rf"\1{HIDDEN}@", text))


def scrub(text: str) -> str:
    """Mask values of secret environment variables, and text that looks like a secret."""
    for name, value in os.environ.items():
        if len(value) >= SHORTEST and is_secret_name(name):
            text = text.replace(value, HIDDEN)
    text = _BEARER.sub(rf"\1{HIDDEN}", _KINDS.sub(HIDDEN, text))
    return without_user_info(text)


def looks_secret(value: str) -> bool:
    """Return whether ``scrub`` would mask a part of ``value``."""
    return scrub(value) != value


class Scrubbed:
    """Output stream that masks secrets line by line, for the log of a process."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._line = stream, ""

    def write(self, text: str) -> int:
        whole, newline, rest = (self._line + text).rpartition("\n")
        self._line = rest
        if newline:
            self._stream.write(scrub(whole) + newline)
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def close_line(self) -> None:
        """Write the remaining text that has no line end yet."""
        line, self._line = self._line, ""
        self._stream.write(scrub(line))
        self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
