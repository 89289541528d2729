"""Tables of a report: headers, cells and a note."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """Text of a table cell, and its emphasis."""

    text: str
    role: str = ""  # '', 'number', 'number strong', 'method', 'quiet'
    heat: float | None = None  # 0 to 1, shading by size


@dataclass(frozen=True)
class Table:
    """Headers, rows of equal length, and a sentence on how to read them."""

    headers: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    marked: int | None = None  # index of the row of the chosen candidate
