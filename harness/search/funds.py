"""How much a sweep may run: as many trials and seeds as configured, or what a budget allows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from harness.compose.method_plan import MethodPlan
from harness.config import SweepConfig
from harness.records import Record
from harness.search.budget import search_budget


class Funds(Protocol):
    """Limits the driver. A budget of time or money implements it in ``harness.allowance``."""

    def most_trials(self, plan: MethodPlan) -> int:
        """Return the most search trials that a method may ever get."""
        ...

    def trials(self, begun: int) -> int:
        """Return the search trials of each method, of which one has begun ``begun``."""
        ...

    def take(self, record: Record) -> None:
        """Take the costs of a search trial that has ended."""

    def rounds(self, finalists: Sequence[Record]) -> Iterator[Sequence[int]]:
        """Yield how many seeds each finalist has after the next round; resumed when all have ended."""
        ...


class AsConfigured:
    """``search.trials`` of each method, then ``confirm.seeds`` of each finalist at once."""

    def __init__(self, sweep: SweepConfig) -> None:
        self._sweep = sweep

    def most_trials(self, plan: MethodPlan) -> int:
        return search_budget(plan, self._sweep)

    def trials(self, begun: int) -> int:
        return self._sweep.search.trials

    def take(self, record: Record) -> None: ...

    def rounds(self, finalists: Sequence[Record]) -> Iterator[Sequence[int]]:
        yield [self._sweep.confirm.seeds] * len(finalists)
