"""Search budgets in seconds, tokens or device-hours, and how much of each a method has used."""

from __future__ import annotations

from harness.compose.method_plan import MethodPlan
from harness.config import SearchConfig, SweepConfig
from harness.records import (
    Record,
)

WHOLE = (
    *("train_seconds", "preparation_seconds", "evaluation_seconds", "base_seconds"),
    "overhead_seconds",
)
WORDS = {"seconds": "seconds of training", "tokens": "tokens", "gpu_hours": "device-hours"}


class Spending:
    """Budget used by one method: the sum over its finished trials, whatever their status."""

    def __init__(self, search: SearchConfig) -> None:
        self._limits = {name: getattr(search, name) for name in WORDS}
        self._spent = dict.fromkeys(WORDS, 0.0)

    def add(self, record: Record) -> None:
        cost = record.cost
        seconds = cost.get("train_seconds", 0.0)
        self._spent["seconds"] += seconds + cost.get("preparation_seconds", 0.0)
        self._spent["tokens"] += seconds * cost.get("tokens_per_second", 0.0)
        hours = sum(cost.get(name, 0.0) for name in WHOLE) / 3600
        self._spent["gpu_hours"] += hours * record.provenance.get("devices_per_trial", 1)

    def used_up(self) -> str | None:
        """Return a sentence about the budget that is used up; None while some of each is left."""
        for name, limit in self._limits.items():
            if limit is not None and self._spent[name] >= limit:
                return (
                    f"its budget is used up: {self._spent[name]:,.4g} of {limit:,.4g} {WORDS[name]}"
                )
        return None


def search_budget(plan: MethodPlan, sweep: SweepConfig) -> int:
    """Return the number of search trials of a method, limited by the size of its search space."""
    return min(sweep.search.trials, plan.n_configurations or sweep.search.trials)
