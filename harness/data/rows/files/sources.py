"""Rows from files and hubs, read strictly: an unusable row is reported with file and line.

`datasets` accepts mixed types, missing keys and nulls silently, so text formats are read here.
"""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from harness.config import DataConfig
from harness.data.rows.columns import Row, checked_rows
from harness.data.rows.files.arrow import hub, parquet
from harness.data.rows.files.csv_tables import table
from harness.data.rows.files.encodings import decoded, opened_text
from harness.data.rows.files.pages import HTML, page, pages_of
from harness.data.rows.files.web_pages import fetched_page, is_url
from harness.errors import InputError, unknown
from harness.paths import user_path

Located = tuple[str, Any]  # place of a row for messages, and the parsed row

DOCUMENT_END = "<|endoftext|>"
# The reader of a file by the end of its name.
SOURCE_OF_SUFFIX = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "csv",
    ".parquet": "parquet", ".txt": "text", ".md": "text", **dict.fromkeys(HTML, "pages"),
}  # fmt: skip
MARKS, CRLF, EMPTY = "byte_order_marks", "crlf_line_ends", "empty_lines"  # skipped and counted


def read_rows(
    source: str,
    paths_or_split: str | list[str],
    config: DataConfig,
    seen: Counter[str] | None = None,
) -> list[Row]:
    """Return the rows of one split as `{column: text}`, with only the columns that ``config`` names.

    Numbers become text. Only the answer column may hold a list of texts. ``paths_or_split`` is one
    file or several, relative to the current directory; for source 'hub' one split name or several.
    Skipped oddities are counted in ``seen``. Raises InputError with file and line for unusable rows.
    """
    return list(stream_rows(source, paths_or_split, config, seen))


def stream_rows(
    source: str,
    paths_or_split: str | list[str],
    config: DataConfig,
    seen: Counter[str] | None = None,
) -> Iterator[Row]:
    """Yield the rows of ``read_rows`` one by one. Raises its errors at the row that has one."""
    records = _records(source, paths_or_split, config.name, config.subset, seen)
    return checked_rows(records, config, seen)


def read_records(
    source: str,
    paths_or_split: str | list[str],
    name: str | None = None,
    subset: str | None = None,
    seen: Counter[str] | None = None,
) -> list[Located]:
    """Return every row with its place. Columns are not checked yet. InputError if there is no row."""
    return list(_records(source, paths_or_split, name, subset, seen))


def _records(
    source: str,
    paths_or_split: str | list[str],
    name: str | None,
    subset: str | None,
    seen: Counter[str] | None,
) -> Iterator[Located]:
    given = [paths_or_split] if isinstance(paths_or_split, str) else list(paths_or_split)
    if source == "hub":
        assert name is not None
        for split in given:
            yield from hub(name, subset, split)
        return
    if source not in _READERS:
        raise unknown("data.source", source, [*_READERS, "hub", "builtin"])
    given = pages_of(given) if source == "pages" else given
    seen = Counter() if seen is None else seen
    for item in given:
        rows = _of_url(source, item, seen) if is_url(item) else _of_file(source, item, seen)
        n_rows = 0
        for n_rows, record in enumerate(rows, start=1):  # noqa: B007
            yield record
        if n_rows == 0:
            raise InputError(f"{item} holds no rows.")


def _of_file(source: str, item: str, seen: Counter[str]) -> Iterator[Located]:
    path = user_path(item)
    check_file(path)
    yield from _READERS[source](path, seen)


def _of_url(source: str, url: str, seen: Counter[str]) -> Iterator[Located]:
    """Yield the document at ``url``. Raises InputError for what is no page."""
    if source != "pages":
        raise InputError(
            f"{url} cannot be read with data={source}: only web pages are fetched, by data=pages. "
            "Download the file and give its path."
        )
    kept = fetched_page(url)
    for _, row in page(kept.path, seen, kept.charset):
        yield url, row


def first_rows(source: str, path: str, n: int) -> list[Any]:
    """Return the first ``n`` parsed rows of one file. Raises InputError if it cannot be read."""
    file = user_path(path)
    check_file(file)
    return [row for _, row in islice(_READERS[source](file, Counter()), n)]


@contextmanager
def naming(field: str) -> Iterator[None]:
    """Put the field that was being read before the message of an InputError."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{field}: {error}") from None


def check_file(path: Path) -> None:
    """Raise InputError if there is no such file, or nothing in it, with the nearest names beside it."""
    if path == Path():
        raise InputError("The path of the file is empty.")
    if path.is_dir():
        raise InputError(f"{path} is a directory. Give the path of a file.")
    if path.is_file():
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty.")
        return
    folder = path.parent
    if not folder.is_dir():
        raise InputError(f"{path} does not exist: the folder {folder} does not exist.")
    names = [item.name for item in folder.iterdir()]
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.7)
    hint = f" Did you mean {' or '.join(str(folder / item) for item in near)}?" if near else ""
    raise InputError(f"{path} does not exist.{hint}")


def _text_of(path: Path, seen: Counter[str]) -> str:
    """Return the text of a file without byte order mark, with line feeds as line ends."""
    with opened_text(path) as file:
        text = decoded(path, file.read(), line=1, before=0)
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
    with opened_text(path) as file:
        for line, raw in enumerate(file, start=1):  # splits at line feeds alone, as JSONL defines
            text = decoded(path, raw, line, offset)
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
                f"({', '.join(lists) or 'none'}): the file must hold a list of objects, "
                "or an object with exactly one list."
            )
        data = data[lists[0]]
    if not isinstance(data, list):
        raise InputError(f"{path} holds {data!r:.60}: it must be a list of objects.")
    for number, row in enumerate(data, start=1):
        yield f"{path}, row {number}", row


def _text(path: Path, seen: Counter[str]) -> Iterator[Located]:
    """Return documents separated by lines of ``<|endoftext|>``; if there are none, by blank lines."""
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
    "csv": lambda path, seen: table(path, _text_of(path, seen), seen),
    "parquet": lambda path, seen: parquet(path),
    "text": _text,
    "pages": page,
}
