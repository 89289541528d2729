"""``budget.json``: what was bought for a sweep, what the plan chose for it, and what is spent.

What trials took stands in their records. So a killed driver loses nothing of the account, and the time
until somebody goes on with the sweep costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.config.strict import from_mapping
from harness.errors import InputError
from harness.records import Record, read_json, write_json
from harness.search.budget import WHOLE

FILE = "budget.json"


@dataclass(frozen=True)
class Purchase:
    """One ``budget=``. Times in seconds of a worker, as the records of trials have them."""

    budget: str  # as typed
    before: float  # in the records when it was bought
    preparing: float = 0.0  # seconds by the clock until the first trial, the plan's steps included
    ended: str | None = None  # why no more is spent; None: some is left


@dataclass(frozen=True)
class Ledger:
    """All purchases of a sweep, and the keys that the first one's plan chose."""

    purchases: list[Purchase] = field(default_factory=list)
    chosen: Mapping[str, Any] = field(default_factory=dict)  # dotted key → value

    @property
    def open(self) -> Purchase | None:
        """Return the purchase that is being spent."""
        last = self.purchases[-1] if self.purchases else None
        return last if last is not None and last.ended is None else None


def read_ledger(folder: Path) -> Ledger:
    """Read a sweep's ledger; empty where nothing was bought, or its file cannot be read."""
    try:
        return from_mapping(Ledger, read_json(folder / FILE) or asdict(Ledger()))
    except (InputError, OSError):
        return Ledger()


def write_ledger(folder: Path, ledger: Ledger) -> None:
    write_json(folder / FILE, asdict(ledger))


def worker_seconds(records: Iterable[Record]) -> float:
    """Return the seconds that workers spent on these trials, whatever became of them."""
    return sum(record.cost.get(name, 0.0) for record in records for name in WHOLE)
