"""Rows that `datasets` reads: parquet files, data sets on the hub, and saved ones.

Importing `datasets` takes seconds, so it is deferred until the first row is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from harness.data.rows.files.encodings import named
from harness.errors import InputError, first_line, unknown
from harness.paths import user_path


def parquet(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the rows of a file without copying it to a cache."""
    import pyarrow
    from pyarrow.parquet import ParquetFile

    with path.open("rb") as file:
        head = file.read(512)
    if not head.startswith(b"PAR1"):
        what = named(path, head)
        raise InputError(f"{path} is not valid parquet: it {f'is {what}' if what else _TEXT}.")
    try:
        with ParquetFile(path) as file:
            yield from _rows(str(path), file.iter_batches())
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise InputError(f"{path} is not valid parquet: {error}") from None


_TEXT = "does not begin with PAR1. If it is text, use data=csv or data=jsonl"


def _rows(where: str, batches: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """Yield the rows of Arrow batches or tables as plain values."""
    number = 0
    for batch in batches:
        short = [field for field in batch.schema if _is_short(field.type)]
        for row in batch.to_pylist():
            number += 1
            own = {field.name: _own_digits(row[field.name], field.type) for field in short}
            yield f"{where}, row {number}", row | own


def _is_short(kind: Any) -> bool:
    """Return True if the type holds numbers of less than double precision."""
    import pyarrow.types as types

    inner = (kind.field(place).type for place in range(kind.num_fields))
    return types.is_float32(kind) or types.is_float16(kind) or any(map(_is_short, inner))


def _own_digits(value: Any, kind: Any) -> Any:
    """Return the shortest number that single precision prints: 0.1 instead of 0.10000000149."""
    import numpy

    if value is None or not _is_short(kind):
        return value
    if isinstance(value, dict):
        return {key: _own_digits(item, kind.field(key).type) for key, item in value.items()}
    if isinstance(value, list):
        return [_own_digits(item, kind.field(0).type) for item in value]
    short = numpy.float16 if str(kind) == "halffloat" else numpy.float32
    return float(str(short(value)))


def _check_on_hub(name: str) -> None:
    """Raise InputError for a data set that is neither in the cache nor found on the hub.

    `datasets` itself tries for half a minute.
    """
    import datasets
    from huggingface_hub import HfApi, constants
    from huggingface_hub.file_download import repo_folder_name

    caches = [Path(datasets.config.HF_DATASETS_CACHE) / name.replace("/", "___")]
    caches.append(
        Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type="dataset")
    )
    if constants.HF_HUB_OFFLINE or any(cache.exists() for cache in caches):
        return
    try:
        HfApi().dataset_info(name, timeout=5)
    except Exception as error:  # no network, data set or permission
        raise InputError(
            f"data.name={name!r} cannot be used: it is neither an existing directory nor in the cache, "
            f"and the hub answered: {first_line(error)}"
        ) from error


def hub(name: str, subset: str | None, split: str) -> Iterator[tuple[str, Any]]:
    """Yield the rows of a split: of a data set on the hub, or of a local directory."""
    import datasets

    folder = user_path(name)
    if name.startswith((".", "/", "~")) and not folder.is_dir():
        raise InputError(f"data.name={name!r} is not a directory.")
    saved = any((folder / mark).is_file() for mark in ("dataset_dict.json", "state.json"))
    try:
        if saved:
            data = datasets.load_from_disk(str(folder))
            splits = dict(data) if isinstance(data, datasets.DatasetDict) else {"train": data}
            if split not in splits:
                raise unknown(f"split of data.name={name}", split, [str(name) for name in splits])
            rows = splits[split]
        else:
            if not folder.is_dir():
                _check_on_hub(name)
            rows = datasets.load_dataset(
                str(folder) if folder.is_dir() else name, subset, split=split
            )
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise InputError(f"data.name={name!r}, split '{split}' cannot be loaded: {error}") from None
    if len(rows) == 0:
        raise InputError(f"data.name={name!r}, split '{split}' holds no rows.")
    yield from _rows(f"{name} '{split}'", rows.with_format("arrow").iter(batch_size=1000))
