"""Interface for progress events of a sweep."""

from __future__ import annotations

from typing import Any, Protocol

from harness.records import Record
from harness.trials.job import Job


class Watcher(Protocol):
    """Receives progress events from the driver; the terminal display implements it."""

    def started(self, job: Job) -> None: ...
    def moved(self, job: Job, row: dict[str, Any]) -> None: ...
    def ended(self, record: Record) -> None: ...
    def phase(self, text: str, trials: int | None) -> None: ...  # None: as many as a budget allows
