"""Reading and writing of files that survive a crash or power cut.

JSON files are replaced atomically. In JSON Lines files a partial line is skipped.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from harness.records.record import Record


def write_text(path: Path, text: str) -> None:
    """Write a temporary file, fsync and rename it, so that readers never see a partial file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with aside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        aside.unlink(missing_ok=True)  # it would take up space on a full disk
        raise
    aside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_json(path: Path, data: Any) -> None:
    """Write ``data`` as JSON. Raises ValueError for NaN: the caller leaves missing numbers out."""
    text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False, sort_keys=False)
    write_text(path, text + "\n")


def read_json(path: Path) -> Any | None:
    """Return the parsed file; None if it is absent or corrupt. A corrupt file is moved aside."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, UnicodeDecodeError):
        set_aside(path)
        return None


def set_aside(path: Path) -> None:
    """Rename a corrupt file and print a message."""
    kept = path.with_name(path.name + ".unreadable")
    path.replace(kept)
    print(f"{path} is not readable (cut off while written?); kept as {kept.name}", file=sys.stderr)


def append_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Append one line per row. A partial last line from an earlier crash is ended first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(to_jsonl(rows).encode())


def to_jsonl(rows: Iterable[Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def read_jsonl(path: Path, containing: Collection[str] = ()) -> list[Any]:
    """Return all complete rows; [] if the file is absent. Partial lines are skipped.

    With ``containing``, so are lines that have none of these texts, without parsing them.
    """
    rows = []
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return rows
    for line in text.split("\n"):  # not splitlines(), which also splits at U+2028 in model output
        if containing and not any(text in line for text in containing):
            continue
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def write_record(folder: Path, record: Record) -> None:
    write_json(folder / "record.json", record.to_json())


def read_record(folder: Path) -> Record | None:
    """Return the record of a trial folder; None if the trial is not complete."""
    path = folder / "record.json"
    data = read_json(path)
    if data is None:
        return None
    try:
        return Record.from_json(data)
    except (KeyError, TypeError, AttributeError, AssertionError):
        set_aside(path)
        return None
