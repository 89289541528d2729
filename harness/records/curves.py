"""Rows of metrics.jsonl whose points were measured on the same texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def on_the_same_texts(rows: Iterable[Any]) -> Iterator[Any]:
    """Yield the rows; the final evaluation without what was watched during training.

    At the end a trial is measured on the whole validation split, or on the test split and its general
    text. Beside values of the few texts that are watched, such a point would look like learning or
    forgetting in the last steps. The record and its tables have it.
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
