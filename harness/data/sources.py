"""Rows from files and hubs, read strictly: one that cannot be used is named with file and line.

`datasets` accepts mixed types, missing keys and nulls silently, so text formats are read here.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.config import DataConfig
from harness.data.arrow import hub, parquet
from harness.data.columns import Row, check_rows
from harness.data.pages import page, pages_of
from harness.errors import InputError, unknown

Located = tuple[str, Any]  # where a row stands, as a message names it; the row as it was parsed

DOCUMENT_END = "<|endoftext|>"
MARKS, CRLF, EMPTY = "byte_order_marks", "crlf_line_ends", "empty_lines"  # what is passed over


def read_rows(
    source: str,
    paths_or_split: str | list[str],
    config: DataConfig,
    seen: Counter[str] | None = None,
) -> list[Row]:
    """The rows of one split: `{column: text}`, with the columns that ``config`` names alone.

    Numbers become text; the answer column alone may hold a list of texts. ``paths_or_split`` is a
    file or several, relative to the current directory; for source 'hub' the name of a split or
    several. What was passed over is counted in ``seen``. Raises InputError naming file and line for
    everything that cannot be used.
    """
    records = read_records(source, paths_or_split, config.name, config.subset, seen)
    return check_rows(records, config)


def read_records(
    source: str,
    paths_or_split: str | list[str],
    name: str | None = None,
    subset: str | None = None,
    seen: Counter[str] | None = None,
) -> list[Located]:
    """Every row with the place it stands at, its columns not yet checked; at least one row."""
    given = [paths_or_split] if isinstance(paths_or_split, str) else list(paths_or_split)
    if source == "hub":
        assert name is not None
        return [record for split in given for record in hub(name, subset, split)]
    if source not in _READERS:
        raise unknown("data.source", source, [*_READERS, "hub", "builtin"])
    given = pages_of(given) if source == "pages" else given
    seen, records = Counter() if seen is None else seen, []
    for path in (Path(item).expanduser() for item in given):
        _check_file(path)
        found = list(_READERS[source](path, seen))
        if not found:
            raise InputError(f"{path} holds no rows.")
        records += found
    return records


@contextmanager
def naming(field: str) -> Iterator[None]:
    """Puts the field that was being read before the message of an InputError."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{field}: {error}") from None


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a directory, a file is needed.")
    if path.is_file():
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty.")
        return
    folder = path.parent
    if not folder.is_dir():
        raise InputError(f"{path} does not exist: there is no folder {folder}.")
    names = [item.name for item in folder.iterdir()]
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.7)
    hint = f" Did you mean {' or '.join(str(folder / item) for item in near)}?" if near else ""
    raise InputError(f"{path} does not exist.{hint}")


def _decoded(path: Path, raw: bytes, line: int, before: int) -> str:
    """``raw`` as text; ``before`` is how many bytes of the file come before it."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line += raw.count(b"\n", 0, error.start)
        raise InputError(
            f"{path}:{line} is not UTF-8: byte 0x{raw[error.start]:02x} at offset "
            f"{before + error.start}. Convert the file, e.g. iconv -f latin1 -t utf-8."
        ) from None


def _text_of(path: Path, seen: Counter[str]) -> str:
    """The whole file, without byte order mark, lines ended by a line feed alone."""
    text = _decoded(path, path.read_bytes(), line=1, before=0)
    seen[MARKS] += text.startswith("\ufeff")
    seen[CRLF] += text.count("\r\n")
    return text.removeprefix("\ufeff").replace("\r\n", "\n")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _what(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} (column {error.colno})."
    return f"{error}."


_DOCUMENT = " Is it one JSON document? Then data=json reads it."
_LINES = " Is it one object a line? Then data=jsonl reads it."


def _jsonl(path: Path, seen: Counter[str]) -> Iterator[Located]:
    offset = 0
    with path.open("rb") as file:
        for line, raw in enumerate(file, start=1):  # splits at line feeds alone, as JSONL says
            text = _decoded(path, raw, line, offset)
            offset += len(raw)
            seen[CRLF] += raw.endswith(b"\r\n")
            seen[MARKS] += line == 1 and text.startswith("\ufeff")
            text = (text.removeprefix("\ufeff") if line == 1 else text).strip()
            if not text:
                seen[EMPTY] += 1
                continue
            try:
                row = json.loads(text, parse_constant=_no_constant)
            except (ValueError, RecursionError) as error:
                what = _what(error) + (_DOCUMENT if text[0] == "[" or text == "{" else "")
                raise InputError(f"{path}:{line} is not valid JSON: {what}") from None
            if isinstance(row, list) and line == 1:
                raise InputError(f"{path}:{line} is a list, not an object.{_DOCUMENT}")
            yield f"{path}:{line}", row


def _json(path: Path, seen: Counter[str]) -> Iterator[Located]:
    try:
        data = json.loads(_text_of(path, seen), parse_constant=_no_constant)
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        line = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        what = _what(error) + (_LINES if str(error).startswith("Extra data") else "")
        raise InputError(f"{path}{line} is not valid JSON: {what}") from None
    if isinstance(data, dict):
        lists = [key for key, value in data.items() if isinstance(value, list)]
        if len(lists) != 1:
            raise InputError(
                f"{path} holds one object with {len(lists)} list fields "
                f"({', '.join(lists) or 'none'}): it must be a list of objects, "
                "or an object with exactly one list."
            )
        data = data[lists[0]]
    if not isinstance(data, list):
        raise InputError(f"{path} holds {data!r:.60}: it must be a list of objects.")
    for number, row in enumerate(data, start=1):
        yield f"{path}, row {number}", row


def _csv(path: Path, seen: Counter[str]) -> Iterator[Located]:
    csv.field_size_limit(sys.maxsize)  # the default refuses a document of more than 128 kB
    # strict: without it an unclosed quote swallows the rest of the file without a word.
    delimiter = "\t" if path.suffix == ".tsv" else ","
    file = io.StringIO(_text_of(path, seen), newline="\n")
    lines = csv.reader(file, delimiter=delimiter, strict=True)
    header: list[str] = []
    start = 1
    try:
        for cells in lines:
            where, start = f"{path}:{start}", lines.line_num + 1
            if not cells:
                seen[EMPTY] += 1
                continue
            if not header:
                header = cells
                twice = sorted({name for name in header if header.count(name) > 1})
                if twice:
                    raise InputError(f"{where}: the header names {', '.join(twice)} twice.")
                continue
            if len(cells) != len(header):
                raise InputError(
                    f"{where} has {len(cells)} cells, the header has {len(header)} "
                    f"({', '.join(header)})."
                )
            yield where, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise InputError(f"{path}:{start} is not valid CSV: {error}.") from None


def _text(path: Path, seen: Counter[str]) -> Iterator[Located]:
    """Documents between lines that are ``<|endoftext|>``; without any, between blank lines."""
    text = _text_of(path, seen)
    parts = re.split(rf"^{re.escape(DOCUMENT_END)}[ \t]*$", text, flags=re.MULTILINE)
    if len(parts) == 1:
        parts = re.split(r"\n(?:[ \t]*\n)+", text)
    documents = (part.strip("\n") for part in parts if part.strip())
    for number, document in enumerate(documents, start=1):
        yield f"{path}, document {number}", {"text": document}


_READERS: dict[str, Callable[[Path, Counter[str]], Iterator[Located]]] = {
    "jsonl": _jsonl,
    "json": _json,
    "csv": _csv,
    "parquet": lambda path, seen: parquet(path),
    "text": _text,
    "pages": page,
}
