"""Files that survive a power cut: written atomically, and a torn line affects only itself."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness.records.record import Record


def write_text(path: Path, text: str) -> None:
    """Write aside, fsync, rename: a reader gets the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with aside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        aside.unlink(missing_ok=True)  # it would fill the rest of a full disk
        raise
    aside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_json(path: Path, data: Any) -> None:
    """``allow_nan=False``: a missing number is left out by the caller, never written as NaN."""
    text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False, sort_keys=False)
    write_text(path, text + "\n")


def read_json(path: Path) -> Any | None:
    """Return the parsed file; None if it is absent. A broken file is set aside and counts as absent."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, UnicodeDecodeError):
        set_aside(path)
        return None


def set_aside(path: Path) -> None:
    """Rename an unreadable file and report it."""
    kept = path.with_name(path.name + ".unreadable")
    path.replace(kept)
    print(f"{path} is not readable (cut off while written?); kept as {kept.name}", file=sys.stderr)


def append_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Append one line per row, after ending a line that an earlier crash left unfinished."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(to_jsonl(rows).encode())


def to_jsonl(rows: Iterable[Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def read_jsonl(path: Path) -> list[Any]:
    """Return all complete lines; [] where the file is absent. Torn lines are skipped."""
    rows = []
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return rows
    for line in text.split("\n"):  # not splitlines: model output may hold U+2028 and its like
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def write_record(folder: Path, record: Record) -> None:
    write_json(folder / "record.json", record.to_json())


def read_record(folder: Path) -> Record | None:
    """Return the record of a trial folder; None if the trial is not done."""
    path = folder / "record.json"
    data = read_json(path)
    if data is None:
        return None
    try:
        return Record.from_json(data)
    except (KeyError, TypeError, AttributeError, AssertionError):
        set_aside(path)
        return None
