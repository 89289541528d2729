"""Rows of ``metrics.jsonl`` that were measured on the same texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def on_the_same_texts(rows: Iterable[Any]) -> Iterator[Any]:
    """Yield the rows. The final one loses the values that were also measured during training.

    The final evaluation uses the whole validation split, or the test split and its general text.
    Earlier points use a small sample of texts, so a jump to the final value would look like
    learning or forgetting. The record and its tables hold the final values.
    """
    rows = list(rows)
    watched: set[str] = set()
    for row in rows:
        if isinstance(row, Mapping) and row.get("kind") == "evaluation" and not row.get("final"):
            watched.update(row.get("measurements") or ())
    for row in rows:
        if isinstance(row, Mapping) and row.get("final"):
            values = row.get("measurements") or {}
            row = {**row, "measurements": {k: v for k, v in values.items() if k not in watched}}
        yield row
