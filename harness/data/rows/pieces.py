"""Division of long general texts into pieces, so that forgetting is measured on all of a text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from harness.data.rows.sampling import shuffled
from harness.data.tokens.special_tokens import begins_with

_BOUNDARIES = re.compile(r"\n\s*\n|\n|[.!?。！？]\s+|\s")
_ARTICLE = 200  # mean characters per line from which each line of a file is a text
_HEADING = 100  # characters at most


def in_pieces(texts: Sequence[str], tokenizer: Any, max_length: int) -> list[str]:
    """Divide ``texts`` longer than ``max_length`` tokens into pieces that are not longer.

    One piece of each text comes first, then a second one, and so on, so that the first n pieces cover
    as many texts as possible. The pieces of a text come in a random order, the same in every run, so
    that few of them are not its beginning alone. A piece ends with a paragraph, a line, a sentence or
    a word, if one ends in its last quarter. If the tokenizer has no offsets, texts stay whole.
    """
    room = max(1, max_length - len(begins_with(tokenizer)))
    if not getattr(tokenizer, "is_fast", False) or not texts:
        return list(texts)
    batch = tokenizer(list(texts), add_special_tokens=False, verbose=False)
    each = [
        [text]
        if len(encoding.ids) <= room
        else shuffled(_cut(text, encoding.offsets, room), seed=place)
        for place, (text, encoding) in enumerate(zip(texts, batch.encodings, strict=True))
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
    """Return the end of the last boundary of the strongest kind between two places, else ``high``."""
    for kind in _BOUNDARIES.pattern.split("|"):
        ends = [found.end() for found in re.finditer(kind, text[low:high])]
        if ends:
            return low + ends[-1]
    return high


def documents(paragraphs: Sequence[str]) -> list[str]:
    """Return the paragraphs of a text file as documents.

    If there is a single paragraph of long lines, each line is a document. A heading belongs to the
    text after it. A single document is divided at the line end nearest to its middle: one half is
    for the search, the other for the test.
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
