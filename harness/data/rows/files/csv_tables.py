"""CSV files as spreadsheets and programs write them, with named columns, read strictly."""

from __future__ import annotations

import csv
import io
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from harness.data.rows.columns import Repeated
from harness.errors import InputError

_SEPARATORS = {";": "semicolons_as_separators", "\t": "tabs_as_separators"}
_HINTS = {
    "unexpected end of data": " A quote that opens in this row is never closed.",
    "expected after": " A quote inside a quoted cell is written twice.",
    "new-line character": " A carriage return stands alone in this row, outside of quotes.",
}


def table(path: Path, text: str, seen: Counter[str]) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield (place, row) for each row, without unnamed columns and without empty rows.

    If the header is a single cell that contains semicolons or tabs, these are the separators:
    spreadsheets write them where the comma separates decimals. InputError names file and line.
    """
    csv.field_size_limit(sys.maxsize)  # the default refuses a document of more than 128 kB
    header: list[str] = []
    for where, cells in _rows(path, text, seen):
        if not any(cell.strip() for cell in cells):
            seen["empty_lines"] += 1
        elif not header:
            header = [name.strip() for name in cells]
        else:
            width = max(place for place, name in enumerate(header, start=1) if name)
            if len(cells) < width or any(cell.strip() for cell in cells[len(header) :]):
                raise InputError(
                    f"{where} has {len(cells)} cells, the header has {len(header)} "
                    f"({', '.join(header[:width])}).{_unquoted(cells, header)}"
                )
            yield where, _named(header, cells)


def _unquoted(cells: list[str], header: list[str]) -> str:
    more = len(cells) > len(header)
    return " A cell with a comma in it stands in double quotes." if more else ""


def _named(header: list[str], cells: list[str]) -> dict[str, object]:
    """Return the row by column name. A name that several columns have is marked as Repeated."""
    row: dict[str, object] = {}
    for name, cell in zip(header, cells, strict=False):
        if name:
            row[name] = Repeated() if name in row else cell
    return row


def _rows(path: Path, text: str, seen: Counter[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the cells of every row, with the line where it begins."""
    # strict: otherwise an unclosed quote would silently take the rest of the file as one cell.
    lines = csv.reader(
        io.StringIO(text, newline="\n"), delimiter=_separator(path, text, seen), strict=True
    )
    start = 1
    try:
        for cells in lines:
            where, start = f"{path}:{start}", lines.line_num + 1
            yield where, cells
    except csv.Error as error:
        hint = next((hint for words, hint in _HINTS.items() if words in str(error)), "")
        said = "unquoted carriage return" if "new-line" in str(error) else error
        raise InputError(f"{path}:{start} is not valid CSV: {said}.{hint}") from None


def _separator(path: Path, text: str, seen: Counter[str]) -> str:
    if path.suffix.lower() == ".tsv":
        return "\t"
    header = next((line for line in text.split("\n", 100)[:100] if line.strip()), "")
    for separator, name in _SEPARATORS.items():
        names = [part.strip(' "') for part in header.split(separator)]
        if "," not in header and len(names) > 1 and sum(map(bool, names)) > 1:
            seen[name] += 1
            return separator
    return ","
