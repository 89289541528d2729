"""Long general texts in pieces, so that all of a text is measured on and not its beginning alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from harness.data.tokens.special_tokens import begins_with

_BOUNDARIES = re.compile(r"\n\s*\n|\n|[.!?。！？]\s+|\s")
_ARTICLE = 200  # characters of a line on average from which a file has one text a line
_HEADING = 100  # characters at most


def in_pieces(texts: Sequence[str], tokenizer: Any, max_length: int) -> list[str]:
    """``texts``, those longer than ``max_length`` tokens in pieces that are not.

    First all that texts begin with, then what comes second, and so on: the first n are of as many
    texts as there are. Pieces end with a paragraph, a line, a sentence or a word where one ends in
    their last quarter. Texts of a tokenizer that knows no offsets stay whole.
    """
    room = max(1, max_length - len(begins_with(tokenizer)))
    if not getattr(tokenizer, "is_fast", False) or not texts:
        return list(texts)
    batch = tokenizer(list(texts), add_special_tokens=False, verbose=False)
    each = [
        [text] if len(encoding.ids) <= room else _cut(text, encoding.offsets, room)
        for text, encoding in zip(texts, batch.encodings, strict=True)
    ]
    return [piece for rank in zip_longest(*each) for piece in rank if piece is not None]


def _cut(text: str, offsets: Sequence[tuple[int, int]], room: int) -> list[str]:
    pieces, first = [], 0
    while first < len(offsets):
        start = offsets[first][0]
        stop = offsets[first + room][0] if first + room < len(offsets) else len(text)
        if stop < len(text):
            stop = _boundary(text, start + (stop - start) * 3 // 4, stop)
        pieces.append(text[start:stop])
        first = next(
            (i for i in range(first + 1, len(offsets)) if offsets[i][0] >= stop), len(offsets)
        )
    return [piece for piece in pieces if piece.strip()]


def _boundary(text: str, low: int, high: int) -> int:
    """The end of the weightiest boundary between two places, the last of its kind; else ``high``."""
    for kind in _BOUNDARIES.pattern.split("|"):
        ends = [found.end() for found in re.finditer(kind, text[low:high])]
        if ends:
            return low + ends[-1]
    return high


def documents(paragraphs: Sequence[str]) -> list[str]:
    """The paragraphs of a text file as documents.

    A single one of long lines is one text a line; headings belong to what follows them. A single text
    is cut in two at the line end nearest to its middle: one half to search by, one for the test.
    """
    found: list[str] = []
    heading = ""
    for paragraph in paragraphs:
        if _is_heading(paragraph):
            heading += paragraph + "\n\n"
            continue
        found.append(heading + paragraph)
        heading = ""
    if heading:
        found = [*found[:-1], f"{found[-1]}\n\n{heading.strip()}"] if found else list(paragraphs)
    if len(found) != 1:
        return found
    lines = [line for line in found[0].split("\n") if line.strip()]
    if len(lines) > 1 and sum(map(len, lines)) / len(lines) >= _ARTICLE:
        return lines
    if len(lines) > 1:
        text, half = found[0], len(found[0]) // 2
        ends = [place.end() for place in re.finditer(r"\n", text)]
        middle = min(ends, key=lambda end: abs(end - half))
        return [part.strip("\n") for part in (text[:middle], text[middle:]) if part.strip()]
    return found


def _is_heading(paragraph: str) -> bool:
    """Return True for a single short line that does not end a sentence."""
    line = paragraph.strip()
    return "\n" not in line and len(line) <= _HEADING and line[-1:] not in (*".!?。！？:;\"'”’)…",)
