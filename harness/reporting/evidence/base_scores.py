"""Measurements of the untouched base, from the records."""

from __future__ import annotations

from collections.abc import Iterable

from harness.config.metrics import OF_CLASSES
from harness.language import say
from harness.records import Measurement
from harness.reporting.evidence.folders.run_folder import FinishedTrial


def base_measurement(rows: Iterable[FinishedTrial], name: str) -> Measurement | None:
    """Return the untouched base's value from the first record that has it, else None."""
    return next((row.record.base[name] for row in rows if name in row.record.base), None)


def is_of_classes(quality: str) -> bool:
    """Return whether the measurement ``quality`` is of a classifier."""
    return quality.rpartition(".")[2] in OF_CLASSES


def base_name(quality: str) -> str:
    """Return the words for what the measurement ``quality`` is compared with.

    A classifier's base has no class head, so the floor is the best constant answer.
    """
    return say("most frequent class") if is_of_classes(quality) else say("untouched base")
