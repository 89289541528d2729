"""The budget of a running sweep on its screen: the part that is spent, and what is left."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from harness.records import Record

SECONDS = ("train", "preparation", "evaluation", "base", "overhead")  # of a trial, in its cost


@dataclass(frozen=True)
class Budget:
    """One budget= that is being spent, in seconds by the clock or in seconds of workers."""

    text: str  # as typed, without +: 2h, 8gpuh, 20usd
    amount: float  # in the unit of the text; seconds for a time
    seconds: float  # that it buys
    spent: float  # of these, when this was written; without the records of trials where they count
    since: float | None  # that time, in seconds since 1970; None: the records of trials count

    def spent_seconds(self, ended: Iterable[Record]) -> float:
        """Return what is spent by now, of the clock or of workers. ``ended`` are all trials so far."""
        if self.since is not None:
            return self.spent + max(0.0, time.time() - self.since)
        return self.spent + sum(map(seconds_of, ended))

    def in_words(self, ended: Iterable[Record]) -> str:
        """Return '12 min of 2h spent', or '0.31 of 8gpuh spent'."""
        spent = self.spent_seconds(ended)
        if self.since is not None:
            return f"{duration(spent)} of {self.text} spent"
        return f"{self.amount * spent / self.seconds:.2g} of {self.text} spent"


def seconds_of(record: Record) -> float:
    """Return the seconds that a trial took of its worker."""
    return sum(record.cost.get(f"{part}_seconds", 0.0) for part in SECONDS)


def duration(seconds: float) -> str:
    """Return seconds as a person says them: '40 s', '12 min', '3.5 h', '2.1 days'."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"
