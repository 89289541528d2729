"""The budget of a running sweep: how many trials it allows, and which finalists run again."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from harness.allowance.costs import CostTable
from harness.allowance.division import Cuts, Division, Typed, divide
from harness.allowance.ledger import (
    Purchase,
    read_ledger,
    worker_seconds,
    write_ledger,
)
from harness.allowance.seed_allocation import seeds_for_choice, seeds_for_pair
from harness.allowance.seed_race import FIRST_SEEDS, deciding, look, probably_right
from harness.compose.method_plan import MethodPlan
from harness.config import SweepConfig
from harness.config.sweep import Allowance, allowance
from harness.language import recorded
from harness.records import Record
from harness.reporting.evidence.candidate_set import candidate_set
from harness.reporting.evidence.candidates import CandidateSet
from harness.reporting.evidence.folders.run_folder import load_run
from harness.reporting.evidence.race_file import Race, Round, read_race, write_race
from harness.search.screen.spending import Budget
from harness.search.sweep_folder import SweepFolder
from harness.statistics.comparing.looks import is_due

REPORT_SECONDS = 10.0  # reserved for the report in a budget of wall-clock time
MOST_TRIALS = 1000  # of a method


class Fund:
    """Implements ``harness.search.funds.Funds`` for ``budget=``.

    A running trial is never stopped, so the last trials may exceed the budget slightly.
    """

    def __init__(
        self,
        sweep: SweepConfig,
        folder: SweepFolder,
        costs: CostTable,
        typed: Typed,
        workers: int,
        began: float,
        resumed: bool,
    ) -> None:
        self._sweep, self._folder, self._costs, self._typed = sweep, folder, costs, typed
        self._workers, self._began = workers, began
        self._ledger = read_ledger(folder.path)
        purchase = self._ledger.open
        self._buys_seeds = (
            bool(self._ledger.purchases) and self._ledger.purchases[-1].budget[0] == "+"
        )
        self._earlier = 0.0  # wall-clock seconds used by earlier processes of this sweep
        if resumed and purchase is not None:
            self._earlier = self._recorded(purchase) / workers + purchase.preparing
        self._raced = bool(read_race(folder.path).rounds)
        self._division: Division | None = None
        for record in folder.all_records(costs.methods):
            costs.add(record)

    def on_screen(self) -> Budget | None:
        """Return the budget as the screen shows it while it is spent; None if it is spent."""
        purchase = self._ledger.open
        if purchase is None:
            return None
        bought, launcher = self._bought(purchase), self._sweep.launcher
        text = bought.text.removeprefix("+")
        if bought.kind == "time":
            spent = self._earlier + time.monotonic() - self._began
            return Budget(text, bought.amount, bought.amount, spent, time.time())
        hours = bought.device_hours(launcher.price_per_hour) / launcher.devices_per_trial
        return Budget(text, bought.amount, 3600 * hours, purchase.preparing - purchase.before, None)

    # --- search -----------------------------------------------------------------------------------

    @property
    def open(self) -> bool:
        return not (self._typed.trials or self._buys_seeds)

    def most_trials(self, plan: MethodPlan) -> int:
        most = MOST_TRIALS if self.open else self._sweep.search.trials
        return min(most, plan.n_configurations or most)

    def trials(self, begun: int) -> int:
        """Return the number of search trials that each method may have now.

        It is never below ``begun``, the most that any method has started, so that all methods get
        equally many.
        """
        if self._ledger.open is None or self._raced:
            return begun  # the search is over
        if self._buys_seeds or self._typed.trials is not None:
            return self._sweep.search.trials
        if self._division is None:
            self._division = divide(
                self._costs.each, self._capacity(), self._fixed(), Cuts(self._costs.test_items)
            )
        return max(begun, 1 if self._division is None else self._division.trials)

    def take(self, record: Record) -> None:
        self._costs.add(record)
        self._division = None  # the measured cost changes the best division

    def _fixed(self) -> Typed:
        """Return the settings that can no longer change after the sweep has begun."""
        sweep = self._sweep
        return replace(self._typed, pruner=sweep.search.pruner, finalists=sweep.confirm.finalists)

    # --- confirm ----------------------------------------------------------------------------------

    def rounds(self, finalists: Sequence[Record]) -> Iterator[Sequence[int]]:
        names = [record.configuration for record in finalists]
        methods = {record.configuration: record.method for record in finalists}
        if self._typed.seeds is not None and not self._buys_seeds:
            yield [self._sweep.confirm.seeds] * len(names)
            self._end(f"all {self._sweep.confirm.seeds} seeds of confirm.seeds have run")
            return
        race = read_race(self._folder.path)
        if not race.rounds or {*race.seeds} != {*names}:
            seeds = self._sweep.confirm.seeds if self._buys_seeds else FIRST_SEEDS
            race = self._write(Race([Round(dict.fromkeys(names, seeds))]))
        while True:
            yield [race.seeds[name] for name in names]
            if self._ledger.open is None:
                return
            following, why = self._next(race, methods)
            race = read_race(self._folder.path)
            if why is not None:
                self._end(why)
                return
            race = self._write(Race([*race.rounds, Round(following)]))

    def _next(self, race: Race, methods: Mapping[str, str]) -> tuple[dict[str, int], str | None]:
        """Return the seeds of the next round, and None; or no seeds, and the reason."""
        seeds = dict(race.seeds)
        last = sum(race.looked[-1].seeds.values()) if race.looked else 0
        due = is_due(sum(seeds.values()), last)
        over = self._look(race) if due else None  # a race without a complete run is over as well
        if over is not None:
            return {}, over
        candidates = self._candidates()
        if not candidates.confirmed:
            return {}, recorded("no run of a finalist completed")
        pair, question = deciding(candidates)
        if not pair:
            return {}, question
        enough = None
        if self._buys_seeds:  # more budget is bought to have the choice shown
            following = seeds_for_pair(seeds, [c.configuration for c in pair], self._workers)
        else:  # the first is to make it a right one
            enough = probably_right(candidates, self._each(seeds, methods))
            following = {} if enough else seeds_for_choice(candidates, seeds, self._workers)
        affordable = self._affordable(seeds, following, methods)
        if affordable == seeds:
            if not due and sum(seeds.values()) > last:
                over = self._look(read_race(self._folder.path))
            spent = recorded(
                "the budget is spent, and this was still open: {question}", question=question
            )
            return {}, over or enough or spent
        return affordable, None

    def _look(self, race: Race) -> str | None:
        """Test the finalists, record the result, and return why the race is over; None if it is not."""
        seen = look(self._candidates())
        known = {name: why for name, why in seen.dropped.items() if name in race.seeds}
        last = replace(race.rounds[-1], looked=True, dropped=known, said=seen.over or "")
        self._write(Race([*race.rounds[:-1], last]))
        return seen.over

    def _each(self, seeds: Mapping[str, int], methods: Mapping[str, str]) -> float:
        """Return how many seeds of each finalist the budget would pay for, shared equally."""
        costs = {name: self._costs.confirm(methods[name]) for name in seeds}
        spent, once = sum(n * costs[name] for name, n in seeds.items()), sum(costs.values())
        return (spent + self._left()) / once if once else math.inf

    def _affordable(
        self, seeds: Mapping[str, int], following: Mapping[str, int], methods: Mapping[str, str]
    ) -> dict[str, int]:
        """Reduce ``following`` to the seeds that the rest of the budget pays for, in turn."""
        found, total, longest, left = dict(seeds), 0.0, 0.0, self._left()
        while open_ := [name for name, n in following.items() if found[name] < n]:
            for name in sorted(open_, key=lambda name: found[name]):
                cost = self._costs.confirm(methods[name])
                total, longest = total + cost, max(longest, cost)
                if max(total, self._billed_workers * longest) > left:
                    return found
                found[name] += 1
        return found

    @property
    def _billed_workers(self) -> int:
        """Return how many workers are paid for while one runs: all in a budget of wall-clock time."""
        purchase = self._ledger.open
        return (
            self._workers if purchase is not None and self._bought(purchase).kind == "time" else 1
        )

    def _candidates(self) -> CandidateSet:
        return candidate_set(load_run(self._folder.path))

    def _write(self, race: Race) -> Race:
        write_race(self._folder.path, race)
        return race

    def _end(self, why: str) -> None:
        """Record in the ledger and for the report why spending ended."""
        race = read_race(self._folder.path)
        if race.rounds:
            self._write(Race([*race.rounds[:-1], replace(race.rounds[-1], said=why)]))
        *others, last = self._ledger.purchases
        self._ledger = replace(self._ledger, purchases=[*others, replace(last, ended=why)])
        write_ledger(self._folder.path, self._ledger)

    # --- account ----------------------------------------------------------------------------------

    def _bought(self, purchase: Purchase) -> Allowance:
        return allowance(purchase.budget, self._sweep.launcher.price_per_hour)

    def _recorded(self, purchase: Purchase) -> float:
        return worker_seconds(self._folder.all_records(self._costs.methods)) - purchase.before

    def _capacity(self) -> float:
        """Return the worker seconds of this purchase, spent and unspent."""
        purchase = self._ledger.open
        assert purchase is not None
        return self._recorded(purchase) + self._left()

    def _left(self) -> float:
        """Return the unspent worker seconds.

        In a budget of wall-clock time, this process counts by the clock and earlier ones by their
        records.
        """
        purchase = self._ledger.open
        assert purchase is not None
        launcher, bought = self._sweep.launcher, self._bought(purchase)
        if bought.kind == "time":
            spent = self._earlier + time.monotonic() - self._began
            return max(0.0, self._workers * (bought.amount - spent - REPORT_SECONDS))
        hours = bought.device_hours(launcher.price_per_hour) / launcher.devices_per_trial
        return max(0.0, 3600 * hours - purchase.preparing - self._recorded(purchase))
