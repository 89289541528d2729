"""The ledger ``budget.json``: budgets bought for a sweep, and the settings chosen for them.

The cost of trials is read from their records, so a killed driver loses nothing. Time during which
no driver runs is not charged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.config.strict import from_mapping
from harness.errors import InputError
from harness.records import Record, read_json, write_json
from harness.search.method_budget import WHOLE

FILE = "budget.json"


@dataclass(frozen=True)
class Purchase:
    """One ``budget=`` argument. Times are in worker seconds, as recorded by the trials."""

    budget: str  # as typed
    before: float  # worker seconds already recorded at the time of purchase
    preparing: float = 0.0  # wall-clock seconds before the first trial, including the plan's steps
    ended: str | None = None  # why spending ended; None: it has not


@dataclass(frozen=True)
class Ledger:
    """All purchases of a sweep, and the settings chosen for the first one."""

    purchases: list[Purchase] = field(default_factory=list)
    chosen: Mapping[str, Any] = field(default_factory=dict)  # dotted key → value

    @property
    def open(self) -> Purchase | None:
        """Return the purchase that is being spent; None without one."""
        last = self.purchases[-1] if self.purchases else None
        return last if last is not None and last.ended is None else None


def read_ledger(folder: Path) -> Ledger:
    """Read a sweep's ledger; empty if nothing was bought or the file cannot be read."""
    try:
        return from_mapping(Ledger, read_json(folder / FILE) or asdict(Ledger()))
    except (InputError, OSError):
        return Ledger()


def write_ledger(folder: Path, ledger: Ledger) -> None:
    write_json(folder / FILE, asdict(ledger))


def worker_seconds(records: Iterable[Record]) -> float:
    """Return the worker seconds spent on these trials, whatever their status."""
    return sum(record.cost.get(name, 0.0) for record in records for name in WHOLE)
