"""Folders of results as runs: of a sweep, of several sweeps, and of other tools."""

from __future__ import annotations

from pathlib import Path

from harness.reporting.evidence.folders.method_comparison import (
    is_method_comparison,
    read_method_comparison,
)
from harness.reporting.evidence.folders.run_folder import SweepRecords, load_run
from harness.reporting.evidence.folders.trainer import is_trainer_output, read_trainer_output

__all__ = ["read_run"]


def read_run(folder: Path) -> SweepRecords:
    """Read a folder of a sweep, of peft's method_comparison, or of the Trainer.

    Raises InputError if it is none of them.
    """
    if is_method_comparison(folder):
        return read_method_comparison(folder)
    if is_trainer_output(folder):
        return read_trainer_output(folder)
    return load_run(folder)
