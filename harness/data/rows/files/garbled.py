"""Detection of text that was once decoded with the wrong encoding."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from harness.errors import InputError

# Control characters that no text contains, and the replacement character.
_CONTROL = re.compile("[\x80-\x84\x86-\x9f\ufffd]")
# UTF-8 read as cp1252: a first byte, then a continuation byte as cp1252 decodes it.
_REST = "[\u00a0-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]"
_TWICE = re.compile(f"[ÃÂÐÑ]{_REST}|[à-ï]{_REST}{_REST}")
MOST = 0.5  # share of rows above which the whole file must have been decoded wrongly


class Garbled:
    """Counter of rows with text that was decoded with the wrong encoding."""

    def __init__(self) -> None:
        self.n, self._first = 0, ""

    def look(self, where: str, values: Iterable[Any]) -> None:
        """Examine the values of one row: texts, or lists of texts and turns."""
        found = next((f for value in values if (f := _found(value))), None)
        if found is not None:
            self.n += 1
            self._first = self._first or f"{where}: {found!r}"

    def check(self, rows: int) -> int:
        """Count the garbled values. Raises InputError if most of ``rows`` are garbled."""
        if self.n > MOST * rows:
            raise InputError(
                f"{self.n} of {rows} rows contain text that was converted from the wrong encoding, the "
                f"first at {self._first}. Convert the original file from the encoding that it was "
                "saved in (cp1252, cp932, gb18030 ...), not from latin1."
            )
        return self.n


def _found(value: Any) -> str | None:
    if isinstance(value, list | tuple):
        return next((found for item in value if (found := _found(item))), None)
    text = str(value)
    if text.isascii():
        return None
    match = _CONTROL.search(text) or _TWICE.search(text)
    return text[max(0, match.start() - 8) : match.end() + 8] if match else None
