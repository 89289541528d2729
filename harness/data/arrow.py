"""Rows that `datasets` reads: parquet files, data sets on the hub, and saved ones.

Importing `datasets` takes seconds: it happens when the first row is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.errors import InputError, unknown


def parquet(path: Path) -> Iterator[tuple[str, Any]]:
    import datasets

    try:
        # Streamed: the file is read where it lies, no copy goes to the hub's cache.
        rows = datasets.load_dataset(
            "parquet", data_files=[str(path)], split="train", streaming=True
        )
        for number, row in enumerate(rows, start=1):
            yield f"{path}, row {number}", row
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not valid parquet: {error}") from None


def hub(name: str, subset: str | None, split: str) -> Iterator[tuple[str, Any]]:
    """Rows of a split of a data set on the hub, or of a local directory, saved or with files."""
    import datasets

    folder = Path(name).expanduser()
    if name.startswith((".", "/", "~")) and not folder.is_dir():
        raise InputError(f"data.name={name!r} is no directory.")
    saved = any((folder / mark).is_file() for mark in ("dataset_dict.json", "state.json"))
    try:
        if saved:
            data = datasets.load_from_disk(str(folder))
            splits = dict(data) if isinstance(data, datasets.DatasetDict) else {"train": data}
            if split not in splits:
                raise unknown(f"split of data.name={name}", split, splits)
            rows = splits[split]
        else:
            rows = datasets.load_dataset(
                str(folder) if folder.is_dir() else name, subset, split=split
            )
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise InputError(f"data.name={name!r}, split '{split}' cannot be loaded: {error}") from None
    if len(rows) == 0:
        raise InputError(f"data.name={name!r}, split '{split}' holds no rows.")
    for number, row in enumerate(rows, start=1):
        yield f"{name} '{split}', row {number}", row
