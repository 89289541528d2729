"""Division of a budget with and without fewer steps and test items, at equal cost.

    python -m bench.budget_division          # about a minute on one core

Both divisions are the product's own (``harness.allowance.division``). They are judged in simulated
sweeps that were not seen in planning, with errors of items and of short training as the plan assumes
them, and with half and twice of them. Right: the choice is within the margin of the best after all
steps.
"""

from __future__ import annotations

import itertools
import math

from harness.allowance import simulated_sweeps
from harness.allowance.division import Cuts, Division, MethodCost, Typed, divide

# Name, seconds of all steps and of a thousand answers, and of a search trial's evaluation.
TRIALS = (
    ("steps take the time", 100.0, 10.0, 2.0),
    ("both", 60.0, 60.0, 6.0),
    ("answers take the time", 10.0, 100.0, 10.0),
)
ITEMS = 1000
SMALLEST = 1.05  # times the cost of the smallest sweep without cuts
FACTORS = (0.5, 1.0, 2.0)  # of the errors that the plan assumes


def judged(found: Division, k: int, factor: float) -> float:
    """Return the share of right choices in unseen sweeps whose errors are ``factor`` times as large."""
    own = simulated_sweeps.SHORT, simulated_sweeps.OWN_ITEMS, simulated_sweeps.SEED_ITEMS
    stream = simulated_sweeps.STREAM
    try:
        simulated_sweeps.SHORT, simulated_sweeps.OWN_ITEMS, simulated_sweeps.SEED_ITEMS = (
            factor**2 * one for one in own
        )
        simulated_sweeps.STREAM = stream + 1
        _forget()
        design = (k, found.trials, found.pruner != "none", found.finalists, found.runs)
        return simulated_sweeps.chance(*design, found.steps, found.items)
    finally:
        simulated_sweeps.SHORT, simulated_sweeps.OWN_ITEMS, simulated_sweeps.SEED_ITEMS = own
        simulated_sweeps.STREAM = stream
        _forget()


def _forget() -> None:
    for cached in (
        simulated_sweeps.chance,
        simulated_sweeps._finalists,
        simulated_sweeps._worlds,
    ):
        cached.cache_clear()


def main() -> None:
    print("Right choices in %, of 1,000 sweeps, at half, once and twice the errors assumed.")
    print(
        f"{'methods':>7} {'budget':>7}  {'trial':22} {'whole':>18} {'cut':>18}  steps, test items"
    )
    for (name, steps, answers, evaluation), k in itertools.product(TRIALS, (3, 6)):
        search = steps + evaluation
        costs = [MethodCost(search, steps + answers, training=steps, answering=answers)] * k
        least = SMALLEST * k * (search + 2 * (steps + answers))
        for times in (0.5, 1.0, 2.0, 4.0, 8.0):
            whole = divide(costs, times * least, Typed(), Cuts(ITEMS))
            cut = divide(costs, times * least, Typed(), Cuts(ITEMS, of_items=True, of_steps=True))
            rows = []
            for one in (whole, cut):
                shares = [judged(one, k, factor) for factor in FACTORS] if one else [math.nan]
                rows.append(", ".join(f"{100 * share:.1f}" for share in shares))
            said = "none fits" if cut is None else f"{cut.steps:g}, {cut.items}"
            print(f"{k:>7} {times:>7g}  {name:22} {rows[0]:>18} {rows[1]:>18}  {said}", flush=True)


if __name__ == "__main__":
    main()
