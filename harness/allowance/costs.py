"""Worker seconds per trial of each method: estimated from the plan's steps, then measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from harness.allowance.division import MethodCost
from harness.allowance.ledger import worker_seconds
from harness.compose.method_plan import MethodPlan
from harness.config import SweepConfig
from harness.data.rows.splits import Splits
from harness.records import Record
from harness.records.footprint import Footprint
from harness.search.planning.needs import MethodMemory


class CostTable:
    """Mean cost of a trial, by method and stage.

    Costs come from the trials that have ended; before that, from the steps measured for the plan.
    """

    def __init__(
        self,
        sweep: SweepConfig,
        plans: Sequence[MethodPlan],
        needs: Mapping[str, MethodMemory],
        splits: Splits,
    ) -> None:
        self.methods = [plan.method for plan in plans]
        self.test_items = len(splits.test)
        self._test = len(splits.test) / max(1, len(splits.validation))
        more = self._test if splits.validation else 1.0
        self._planned = {
            plan.method: _planned(sweep, plan, needs[plan.method].measured[0].footprint, more)
            for plan in plans
            if needs[plan.method].measured and needs[plan.method].none_fits is None
        }
        self._found: dict[tuple[str, str], dict[str, float]] = {}  # by fingerprint

    def add(self, record: Record) -> None:
        """Add the cost of one trial. Measuring the base is left out, because it happens only once."""
        seconds = worker_seconds([record]) - record.cost.get("base_seconds", 0.0)
        if seconds > 0:
            self._found.setdefault((record.method, record.stage), {})[record.fingerprint] = seconds
        if seconds > 0 and record.status == "complete" and record.stage == "search":
            more = record.cost.get("evaluation_seconds", 0.0) * self._test
            whole = self._found.setdefault((record.method, "confirm, estimated"), {})
            whole[record.fingerprint] = seconds + more

    @property
    def each(self) -> list[MethodCost]:
        """Return the costs of the methods that fit into memory."""
        return [self._of(method) for method in self._planned]

    @property
    def searched(self) -> dict[str, float]:
        """Return the worker seconds of a whole search trial, by method."""
        return {method: self._of(method).search for method in self._planned}

    def confirm(self, method: str) -> float:
        """Return the worker seconds of one confirmation run."""
        return self._of(method).confirm

    def _of(self, method: str) -> MethodCost:
        planned = self._planned.get(method, MethodCost(0.0, 0.0))
        search = self._mean(method, "search") or planned.search
        pruned = self._mean(method, "search") or planned.pruned
        estimated = self._mean(method, "confirm, estimated") or planned.confirm
        confirm = self._mean(method, "confirm") or estimated
        return replace(planned, search=search, confirm=confirm, pruned=pruned)

    def _mean(self, method: str, stage: str) -> float | None:
        found = self._found.get((method, stage))
        return sum(found.values()) / len(found) if found else None


def _planned(sweep: SweepConfig, plan: MethodPlan, steps: Footprint, test: float) -> MethodCost:
    """Estimate a method's costs from a few measured steps. Assumes answers of the maximum length.

    ``test``: size of the test split, in validation splits.
    """
    whole, answering = steps.trial_seconds, steps.answering_seconds
    training, search = plan.trial({}).training, sweep.search
    trained = steps.step_seconds * steps.total_steps
    found = MethodCost(
        search=whole,
        confirm=whole + (test - 1) * answering,
        training=trained,
        answering=test * answering,
    )
    every = training.eval_every or max(1, steps.total_steps // 4)
    rung = search.grace_evaluations * every / max(1, steps.total_steps)
    if rung > 0.5:  # the first rung comes too late for pruning to save time
        return found
    goes_on = 1 / search.reduction_factor
    rest = steps.scoring_seconds + answering
    return replace(found, pruned=trained * (rung + goes_on * (1 - rung)) + goes_on * rest)
