"""Number of trials and seeds that a sweep may run: as configured, or as a budget allows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from harness.compose.method_plan import MethodPlan
from harness.config import SweepConfig
from harness.records import Record
from harness.search.method_budget import search_budget


class Funds(Protocol):
    """Interface that limits the driver. ``harness.allowance`` implements it for time and money."""

    @property
    def open(self) -> bool:
        """True if the number of search trials is only decided while they run."""
        ...

    def most_trials(self, plan: MethodPlan) -> int:
        """Return the largest number of search trials that a method may ever get."""
        ...

    def trials(self, begun: int) -> int:
        """Return the number of search trials for each method.

        ``begun`` is the largest number that any method has started.
        """
        ...

    def take(self, record: Record) -> None:
        """Add the cost of a finished search trial."""

    def rounds(self, finalists: Sequence[Record]) -> Iterator[Sequence[int]]:
        """Yield the number of seeds of each finalist after the next round, once the last has ended."""
        ...


class AsConfigured:
    """Gives ``search.trials`` to each method and ``confirm.seeds`` to each finalist, in one round."""

    open = False

    def __init__(self, sweep: SweepConfig) -> None:
        self._sweep = sweep

    def most_trials(self, plan: MethodPlan) -> int:
        return search_budget(plan, self._sweep)

    def trials(self, begun: int) -> int:
        return self._sweep.search.trials

    def take(self, record: Record) -> None: ...

    def rounds(self, finalists: Sequence[Record]) -> Iterator[Sequence[int]]:
        yield [self._sweep.confirm.seeds] * len(finalists)
