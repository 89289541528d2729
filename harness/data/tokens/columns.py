"""Columns that grow by parts, in memory or as files that are mapped when they are complete."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

READ_AT_ONCE = 2**22  # bytes


class Columns:
    """Named columns to which parts are appended; all parts have the same names and types."""

    def __init__(self, folder: Path | None) -> None:
        """Write the columns to ``folder``; None keeps them in memory."""
        self._folder = folder
        self._types: dict[str, np.dtype[Any]] = {}
        self._parts: dict[str, list[np.ndarray]] = {}
        self._files: dict[str, BinaryIO] = {}

    @property
    def is_empty(self) -> bool:
        return not self._types

    def append(self, part: Mapping[str, np.ndarray]) -> None:
        """Append one array to each column."""
        if self.is_empty:
            self._types = {name: array.dtype for name, array in part.items()}
            self._parts = {name: [] for name in part}
            if self._folder is not None:
                # Unlinked first: the columns that these replace may still be mapped.
                for name in part:
                    (self._folder / name).unlink(missing_ok=True)
                self._files = {name: (self._folder / name).open("wb") for name in part}
        for name, array in part.items():
            assert array.dtype == self._types[name], name
            if self._folder is None:
                self._parts[name].append(array)
            else:
                self._files[name].write(np.ascontiguousarray(array).data)

    def close(self) -> dict[str, np.ndarray]:
        """Return the whole columns."""
        if self._folder is None:
            return {name: np.concatenate(parts) for name, parts in self._parts.items()}
        for file in self._files.values():
            file.close()
        return {name: mapped(self._folder / name, kind) for name, kind in self._types.items()}


def mapped(path: Path, kind: np.dtype[Any]) -> np.ndarray:
    """Return the read-only array in a file. Its pages are shared by all processes that read it."""
    return np.memmap(path, kind, "r").view(np.ndarray)


def described(folder: Path, columns: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return type, bytes and checksum of each column's file, as JSON."""
    return {
        name: [array.dtype.str, *_bytes_and_checksum(folder / name)]
        for name, array in columns.items()
    }


def read(folder: Path, described: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Map columns that ``described`` described. Raises ValueError or OSError if a file is not whole."""
    found = {}
    for name, (kind, *content) in described.items():
        if _bytes_and_checksum(folder / name) != content:
            raise ValueError(f"{name} has changed")
        found[name] = mapped(folder / name, np.dtype(kind))
    return found


def _bytes_and_checksum(path: Path) -> list[int]:
    size = checksum = 0
    with path.open("rb") as file:
        while some := file.read(READ_AT_ONCE):
            size, checksum = size + len(some), zlib.crc32(some, checksum)
    return [size, checksum]
