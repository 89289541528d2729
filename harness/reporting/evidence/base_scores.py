"""Measurements of the untouched base, from the records."""

from __future__ import annotations

from collections.abc import Iterable

from harness.records import Measurement
from harness.reporting.evidence.folders.run_folder import FinishedTrial


def base_measurement(rows: Iterable[FinishedTrial], name: str) -> Measurement | None:
    """Return the untouched base's value from the first record that has it, else None."""
    return next((row.record.base[name] for row in rows if name in row.record.base), None)
