"""The ``budget=`` argument: check it against the sweep's folder and divide it into trials and seeds."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.allowance.costs import CostTable
from harness.allowance.cuts import ITEMS, STEPS, cut, cut_needs
from harness.allowance.division import Cuts, Division, Typed, divide, smallest
from harness.allowance.fund import REPORT_SECONDS, Fund
from harness.allowance.ledger import Ledger, Purchase, read_ledger, worker_seconds, write_ledger
from harness.compose.method_plan import MethodPlan
from harness.config import SweepConfig
from harness.config.sweep import Allowance
from harness.data.rows.splits import Splits
from harness.errors import InputError
from harness.search.planning.needs import MethodMemory
from harness.search.sweep_folder import SweepFolder

CHOSEN = ("search.trials", "search.pruner", "confirm.finalists", "confirm.seeds")


def typed_keys(sweep: SweepConfig, arguments: Sequence[str]) -> Typed:
    """Return the keys that the user set on the command line. The plan does not change them."""
    typed = {argument.split("=")[0].lstrip("+") for argument in arguments}
    search, confirm = sweep.search, sweep.confirm
    return Typed(
        trials=search.trials if "search.trials" in typed else None,
        pruner=search.pruner if "search.pruner" in typed else None,
        finalists=confirm.finalists if "confirm.finalists" in typed else None,
        seeds=confirm.seeds if "confirm.seeds" in typed else None,
    )


class Account:
    """Handles ``budget=`` of one sweep. Without a budget it leaves the sweep unchanged."""

    def __init__(
        self, sweep: SweepConfig, folder: SweepFolder, arguments: Sequence[str], began: float
    ) -> None:
        """Read the ledger of ``folder`` and apply what was chosen before.

        ``began`` is the time at which the command began, in seconds of the monotonic clock. Raises
        InputError if the budget contradicts the ledger.
        """
        self._folder, self._began = folder, began
        self._typed = typed_keys(sweep, arguments)
        self.lines: list[str] = []  # shown with the plan
        ledger = Ledger() if sweep.plan else check_budget(sweep, folder.path)
        if not (folder.path / "sweep.yaml").exists():
            ledger = Ledger()  # killed before it began: it is divided again
        self._chosen = dict(ledger.chosen)
        self.sweep = with_chosen(sweep, ledger, self._typed)

    def divide(self, costs: CostTable, cuts: Cuts, workers: int) -> SweepConfig:
        """Divide the budget of a new sweep and return the sweep with the chosen values.

        ``cuts`` are the possible ones; ``cut`` and ``cut_needs`` make those that were chosen.
        Raises InputError if the budget is too small.
        """
        if self.sweep.allowance is not None:
            spent = time.monotonic() - self._began
            self._chosen, self.lines = plan_budget(
                self.sweep, costs, self._typed, cuts, workers, spent
            )
            self.sweep = with_chosen(self.sweep, Ledger(chosen=self._chosen), self._typed)
        return self.sweep

    def cut(
        self, plans: Sequence[MethodPlan], splits: Splits
    ) -> tuple[tuple[MethodPlan, ...], Splits]:
        """Return plans and splits with the chosen number of steps and test items."""
        return cut(plans, splits, self._chosen)

    def cut_needs(self, needs: Mapping[str, MethodMemory]) -> dict[str, MethodMemory]:
        """Return the measured costs of the cut plans."""
        return cut_needs(needs, self._chosen)

    def funds(self, costs: CostTable, workers: int, resumed: bool) -> Fund:
        """Record the purchase in the ledger, and return the fund that limits the driver."""
        bought = self.sweep.allowance
        assert bought is not None
        path, ledger = self._folder.path, read_ledger(self._folder.path)
        new = ledger.open is None if bought.more else not resumed
        if new:
            preparing = time.monotonic() - self._began
            records = self._folder.all_records(costs.methods)
            purchase = Purchase(bought.text, worker_seconds(records), preparing)
            earlier = ledger if bought.more else Ledger()
            chosen = {**earlier.chosen, **self._chosen}
            write_ledger(path, Ledger([*earlier.purchases, purchase], chosen))
        return Fund(
            self.sweep, self._folder, costs, self._typed, workers, self._began, resumed and not new
        )

    @property
    def ended(self) -> str | None:
        """Return one line about why spending ended; None while money or time is left."""
        purchases = read_ledger(self._folder.path).purchases
        last = purchases[-1] if purchases and self.sweep.budget is not None else None
        return None if last is None or last.ended is None else f"{last.budget}: {last.ended}"


def check_budget(sweep: SweepConfig, folder: Path) -> Ledger:
    """Return the ledger of ``folder``. Raises InputError if ``budget=`` contradicts it."""
    ledger, bought = read_ledger(folder), sweep.allowance
    begun = (folder / "sweep.yaml").exists()
    first, open_ = (ledger.purchases or [None])[0], ledger.open
    if bought is None:
        if first is not None and first.budget[0] != "+":
            raise InputError(
                f"budget=null: {folder} was begun with budget={first.budget}. Use that budget, or "
                "buy more with budget=+..., such as +30m."
            )
    elif bought.more:
        if not begun:
            raise InputError(
                f"budget={bought.text!r} cannot be used: there is no sweep in {folder} to buy more "
                f"for. Without + it begins one: budget={bought.text[1:]}."
            )
        if open_ is not None and open_.budget != bought.text:
            raise InputError(
                f"budget={bought.text!r} cannot be used yet: {folder} has not ended with "
                f"budget={open_.budget}. Go on with that first."
            )
    elif begun and (first is None or first.budget != bought.text):
        before = "without a budget" if first is None else f"with budget={first.budget}"
        raise InputError(
            f"budget={bought.text!r} cannot be used: {folder} was begun {before}. More is bought with "
            f"budget=+{bought.text}; another sweep needs another name=."
        )
    return ledger


def with_chosen(sweep: SweepConfig, ledger: Ledger, typed: Typed) -> SweepConfig:
    """Return ``sweep`` with the values recorded in the ledger, except for keys that the user typed."""
    chosen = ledger.chosen
    of_search = {"trials": typed.trials, "pruner": typed.pruner}
    of_confirm = {"finalists": typed.finalists, "seeds": typed.seeds}
    search = {k: chosen.get(f"search.{k}") for k, own in of_search.items() if own is None}
    confirm = {k: chosen.get(f"confirm.{k}") for k, own in of_confirm.items() if own is None}
    return replace(
        sweep,
        search=replace(sweep.search, **{k: v for k, v in search.items() if v is not None}),
        confirm=replace(sweep.confirm, **{k: v for k, v in confirm.items() if v is not None}),
    )


def plan_budget(
    sweep: SweepConfig, costs: CostTable, typed: Typed, cuts: Cuts, workers: int, spent: float
) -> tuple[dict[str, Any], list[str]]:
    """Divide the budget; ``spent`` seconds of wall-clock time are already used.

    Returns the keys that the division sets, and lines for the plan. Raises InputError if the
    smallest valid sweep does not fit: one trial for each method, confirmed with two seeds.
    """
    bought = sweep.allowance
    assert bought is not None
    launcher, each = sweep.launcher, costs.each
    if not each:
        raise InputError(f"budget={bought.text!r}: no method fits into memory, so none has a cost.")
    if bought.kind == "time":
        seconds = workers * max(0.0, bought.amount - spent - REPORT_SECONDS)
        kept = spent + REPORT_SECONDS
    else:
        hours = bought.device_hours(launcher.price_per_hour) / launcher.devices_per_trial
        seconds, kept = max(0.0, 3600 * hours - spent), spent
    division = divide(each, seconds, typed, cuts)
    if division is None:
        least = smallest(each, typed, cuts)
        raise InputError(_too_little(bought, sweep, costs, least, kept, workers))
    k = len(each)
    chosen = {
        "search.trials": division.trials,
        "search.pruner": division.pruner,
        "confirm.finalists": division.finalists,
        "confirm.seeds": max(1, division.seeds(k)),
    }
    open_: dict[str, object] = dict(
        zip(CHOSEN, (typed.trials, typed.pruner, typed.finalists, typed.seeds), strict=True)
    )
    lines = _lines(division, cuts, sweep, k, seconds)
    found: dict[str, Any] = {key: v for key, v in chosen.items() if open_[key] is None}
    if division.steps < 1:
        found[STEPS] = division.steps
    if division.items < cuts.items:
        found[ITEMS] = division.items
    return found, lines


def _lines(division: Division, cuts: Cuts, sweep: SweepConfig, k: int, seconds: float) -> list[str]:
    bought = sweep.allowance
    assert bought is not None
    per = f" for each of {k} methods" if k > 1 else ""
    pruning = "without pruning" if division.pruner == "none" else f"pruned by {division.pruner}"
    runs = f"{division.runs} confirm runs" if division.runs else "no confirm runs"
    lines = [
        f"budget       {bought.text}: {seconds / 60:.3g} minutes of workers are left for trials. At "
        f"these costs: {division.trials} trials{per}, {pruning}, then {runs} of {division.finalists} "
        f"finalists{per}",
        f"             Of the divisions that fit, this one most often finds a configuration within the "
        f"margin, in {100 * division.chance:.0f} % of sweeps made up after the built-in example. Costs "
        "are measured on the way: trials follow them, and seeds go to the finalists that decide",
    ]
    if division.steps < 1:
        lines.append(
            f"             Trials take {100 * division.steps:g} % of the configured steps: with all of "
            "them no division fits, or fewer of them make a right choice more likely. Train what is "
            "chosen with all steps. training.max_steps or training.epochs, if typed, are kept"
        )
    if division.items < cuts.items:
        lines.append(
            f"             Finalists answer {division.items} of {cuts.items} test examples, for more "
            "trials or seeds. data.test_limit, if typed, is kept"
        )
    return lines


def _too_little(
    bought: Allowance,
    sweep: SweepConfig,
    costs: CostTable,
    least: float,
    kept: float,
    workers: int,
) -> str:
    launcher = sweep.launcher
    if bought.kind == "time":
        need = f"budget={-(-(least / workers + kept) * 1.05 // 60):.0f}m"
    else:
        hours = 1.05 * (least + kept) * launcher.devices_per_trial / 3600
        unit, price = ("gpuh", 1.0)
        if bought.kind == "money":
            unit, price = bought.text.strip()[-3:].lower(), launcher.price_per_hour or 1.0
        need = f"budget={hours * price:.2g}{unit}"
    each = ", ".join(f"{method} {seconds:.3g} s" for method, seconds in costs.searched.items())
    return (
        f"budget={bought.text!r} is too little for one trial of each method and two seeds of each "
        f"one's best: by the measured steps that takes about {need}. A trial as configured was "
        f"measured to take: {each}{_load(launcher.name)}. What else ran at that time is in these "
        "figures, so on a quiet machine less may do. Else name fewer methods, fewer steps "
        "(training.max_steps), or fewer examples to answer (data.test_limit, data.validation_limit)."
    )


def _load(launcher: str) -> str:
    """Return how busy this machine was, if it is the one that was measured and reports it."""
    try:
        busy = os.getloadavg()[0] if launcher == "local" else None
    except (OSError, AttributeError):
        busy = None
    return "" if busy is None else f", at a load of {busy:.1f} on {os.cpu_count()} cores"
