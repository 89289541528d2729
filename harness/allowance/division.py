"""Division of a budget between search and confirmation, chosen by simulation.

Each division that the measured costs allow is tried on 1,000 simulated sweeps
(``simulated_sweeps.py``). The one that most often ends within the margin of the best achievable result
is used. Fewer steps or fewer test items than configured are used only if they raise this share by more
than ``GAIN``, or if nothing else fits: the best of many simulated shares is partly luck, and fewer
steps also make a worse model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.allowance.simulated_sweeps import FEWEST_SEEDS, chance

TRIALS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128)
FINALISTS = (1, 2, 3)
MOST_SEEDS = 20  # most seeds planned for each finalist, on average
STEPS = (0.5, 0.25)  # shares of the configured steps that may be planned
ITEMS = (0.5, 0.25, 0.1)  # shares of the test items
FEWEST_ITEMS = 50
GAIN = {"items": 0.05, "steps": 0.1}


@dataclass(frozen=True)
class MethodCost:
    """Worker seconds that a trial of one method takes, including evaluation."""

    search: float
    confirm: float
    pruned: float | None = None  # mean of a search trial with pruning; None: pruning saves nothing
    training: float = 0.0  # the part of a whole trial that its steps take
    answering: float = 0.0  # the part of a confirm run that the test items take

    def cut(self, steps: float, items: float) -> MethodCost:
        """Return the costs with these shares of the steps and of the test items."""
        saved = (1 - steps) * self.training
        search = max(0.0, self.search - saved)
        pruned = self.pruned and self.pruned * search / self.search
        confirm = max(0.0, self.confirm - saved - (1 - items) * self.answering)
        return MethodCost(search, confirm, pruned, steps * self.training, items * self.answering)


@dataclass(frozen=True)
class Typed:
    """Values set by the user. None leaves the choice to the plan."""

    trials: int | None = None
    pruner: str | None = None
    finalists: int | None = None
    seeds: int | None = None


@dataclass(frozen=True)
class Cuts:
    """Size of the test split, and whether the plan may cut it, and the steps of trials."""

    items: int = 0  # 0: unknown, and then their error is left out
    of_items: bool = False
    of_steps: bool = False

    @property
    def numbers(self) -> list[int]:
        """Return the numbers of test items to consider, all of them first."""
        fewer = [n for share in ITEMS if (n := math.ceil(share * self.items)) >= FEWEST_ITEMS]
        return [self.items, *(fewer if self.of_items else ())]


@dataclass(frozen=True)
class Division:
    """Trials and finalists of each method, and the total number of confirmation runs."""

    trials: int
    pruner: str
    finalists: int
    runs: int
    chance: float  # share of simulated sweeps that end with a correct choice
    seconds: float  # expected worker seconds
    steps: float = 1.0  # share of the configured steps
    items: int = 0  # test items; 0: unknown

    def seeds(self, methods: int) -> int:
        """Return the number of seeds for each finalist if all get the same."""
        return self.runs // max(1, methods * self.finalists)


def smallest(costs: Sequence[MethodCost], typed: Typed, cuts: Cuts = Cuts()) -> float:
    """Return the worker seconds of the smallest valid sweep: one trial a method, two confirm seeds."""
    pruned = typed.pruner not in (None, "none")
    least = [_cut(costs, steps, items, cuts) for steps, items in _cuts(cuts)]
    return min(
        next(_divisions(each, math.inf, typed, pruned, first=True)).seconds for each in least
    )


def divide(
    costs: Sequence[MethodCost], seconds: float, typed: Typed, cuts: Cuts = Cuts()
) -> Division | None:
    """Return the best division of ``seconds`` of worker time; None if no valid sweep fits."""
    pruners = (False, True) if typed.pruner is None else (typed.pruner != "none",)
    whole, *cut = [
        max(
            (
                division
                for pruned in pruners
                if not pruned
                or typed.pruner is not None
                or all(c.pruned is not None for c in costs)
                for division in _divisions(
                    _cut(costs, steps, items, cuts), seconds, typed, pruned, steps, items
                )
            ),
            key=_worth,
            default=None,
        )
        for steps, items in _cuts(cuts)
    ]
    better = [
        one
        for one in cut
        if one is not None
        and (
            whole is None or one.chance > whole.chance + GAIN["steps" if one.steps < 1 else "items"]
        )
    ]
    return max(better, key=_worth, default=whole)


def _worth(division: Division) -> tuple[float, float]:
    return division.chance, -division.seconds


def _cuts(cuts: Cuts) -> list[tuple[float, int]]:
    """Return shares of steps and numbers of test items, nothing cut first."""
    shares = (1.0, *(STEPS if cuts.of_steps else ()))
    return [(steps, items) for steps in shares for items in cuts.numbers]


def _cut(costs: Sequence[MethodCost], steps: float, items: int, cuts: Cuts) -> list[MethodCost]:
    return [cost.cut(steps, items / cuts.items if cuts.items else 1.0) for cost in costs]


def _divisions(
    costs: Sequence[MethodCost],
    seconds: float,
    typed: Typed,
    pruned: bool,
    steps: float = 1.0,
    items: int = 0,
    first: bool = False,
) -> Iterator[Division]:
    """Yield the divisions that fit. ``first``: skip the simulation, for the smallest one."""
    k = len(costs)
    a_round = sum(c.pruned if pruned and c.pruned is not None else c.search for c in costs)
    a_run = sum(c.confirm for c in costs) / k
    for trials in TRIALS if typed.trials is None else (typed.trials,):
        for finalists in FINALISTS if typed.finalists is None else (typed.finalists,):
            several = min(finalists, trials) if typed.finalists is None else finalists
            if several < finalists:
                continue
            fewest = k * finalists * (typed.seeds or FEWEST_SEEDS)
            left = seconds - trials * a_round - fewest * a_run
            if left < 0:
                continue
            most = k * finalists * MOST_SEEDS
            runs = fewest
            if typed.seeds is None and finalists and left < math.inf:
                runs = int(min(most, fewest + left // max(a_run, 1e-9)))
            spent = trials * a_round + runs * a_run
            name = typed.pruner or ("asha" if pruned else "none")
            design = (k, trials, pruned, finalists)
            share = 0.0 if first else chance(*design, runs, steps, items)
            yield Division(trials, name, finalists, runs, share, spent, steps, items)
