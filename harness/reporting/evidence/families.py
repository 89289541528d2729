"""Variants of one method that differ in a few settings."""

from __future__ import annotations

from harness.records import Record
from harness.reporting.evidence.folders.run_folder import SweepRecords


def family(record: Record) -> str:
    """Return the method that the command line names; several labels (variants) may share it."""
    named = [text for text in record.overrides if text.startswith("method=")]
    return named[-1].removeprefix("method=") if named else record.method


def families(run: SweepRecords) -> dict[str, str]:
    """Return family → its first label, in the sweep's order."""
    labels = {row.record.method: family(row.record) for row in reversed(run.rows)}
    found: dict[str, str] = {}
    for label in run.sweep.methods:
        if label in labels:
            found.setdefault(labels[label], label)
    return found
