"""Choices of the report's rule and of the former one: regret, noise rewarded, luck of the seeds.

Tables of ``python -m bench.decisions``, which prints them.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from bench import old_rule
from bench.cases import FORGETTING, QUALITY, SEEDS, Case, made_up, measured, read_records
from harness.reporting.verdict.decision import Decision
from harness.reporting.verdict.rule import decide
from harness.statistics.scores import aggregate


def present(case: Case, margin: float | None = None) -> tuple[int, bool]:
    """Return the report's choice, and True if it is shown to be within the margin."""
    decision = decided(case, margin)
    assert decision.chosen is not None
    return int(decision.chosen.label), decision.firm


def decided(case: Case, margin: float | None = None) -> Decision:
    candidates = measured(case)
    if margin is not None:
        candidates = replace(candidates, margin=margin)
    decision = decide(candidates.members, candidates, draws=0)
    assert decision is not None
    return decision


def former(case: Case, rng: np.random.Generator) -> int:
    quality = old_rule.all_resampled(case.name, case.quality, rng)
    return old_rule.chosen(quality, True, old_rule.all_resampled(FORGETTING, case.forgetting, rng))


def regret(rng: np.random.Generator) -> None:
    """Six methods, margin 1: choices truly beyond it, and what a choice forgets.

    A method that learns more forgets more. Forgetting: over that of the least forgetting truly within
    the margin, mean of the runs that chose one truly within it. Shown: runs in which the rule says that
    its choice is within the margin. Used: runs whose headline says "use" without "for now". Wrong: of
    all runs, those that say so of a choice truly beyond the margin. Chance: mean of the stated
    probability that another candidate is better by more than the margin.
    """
    names = ("before", "forget", "after", "forget", "shown", "wrong", "used", "wrong", "chance")
    print(f"{'spread':>7} {'seeds':>5} {'seed SD':>7} " + " ".join(f"{name:>8}" for name in names))
    stated, found = [], []
    for spread, seeds, sd in itertools.product((0.5, 2.0, 8.0), (2, 3, 5), (0.1, 0.5, 2.0)):
        runs, fewer = 300, 60
        before, after = _Tally(), _Tally()
        shown, used, chances = np.zeros(runs, bool), np.zeros(runs, bool), np.zeros(runs)
        for run in range(runs):
            means = rng.normal(0, spread, 6)
            forgets = 0.5 * np.exp(0.4 * means / spread + rng.normal(0, 0.4, 6))
            case = made_up(6, seeds, sd, rng, means, forgets, method_sd=0.2, crossed_sd=0.2)
            decision = decided(case)
            assert decision.chosen is not None and decision.chance_beyond is not None
            after.add(case, int(decision.chosen.label))
            shown[run], used[run] = decision.firm, decision.firm or decision.probable
            chances[run] = decision.chance_beyond
            if run < fewer:
                before.add(case, former(case, rng))
        wrong = np.array(after.beyond)
        shares = (shown, shown & wrong, used, used & wrong, chances)
        print(f"{spread:>7g} {seeds:>5} {sd:>7g}  {before.text}  {after.text}  "
              + " ".join(f"{100 * share.mean():>6.1f} %" for share in shares), flush=True)  # fmt: skip
        stated += [*chances]
        found += [*wrong]
    _calibration(np.array(stated), np.array(found))


def _calibration(stated: np.ndarray, found: np.ndarray) -> None:
    """Print how often a choice was beyond the margin, by the stated chance of that."""
    print("stated chance, runs, mean stated, beyond the margin in %")
    limits = (0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 1.01)
    for low, high in itertools.pairwise(limits):
        own = (stated >= low) & (stated < high)
        if own.any():
            print(f"{low:g} to {min(high, 1):g}: {own.sum()}, {100 * stated[own].mean():.1f}, "
                  f"{100 * found[own].mean():.1f}")  # fmt: skip


class _Tally:
    """Runs whose choice is beyond the margin, and what the others' choice forgets too much."""

    def __init__(self) -> None:
        self.beyond: list[bool] = []
        self.excess: list[float] = []

    def add(self, case: Case, choice: int) -> None:
        admissible = case.truth >= case.truth.max() - case.margin
        self.beyond.append(not admissible[choice])
        if admissible[choice]:
            self.excess.append(case.moved[choice] / case.moved[admissible].min())

    @property
    def text(self) -> str:
        return f"{100 * np.mean(self.beyond):>5.1f} % {np.mean(self.excess or [np.nan]):>7.2f}"


def noisy(rng: np.random.Generator) -> None:
    """Print how often a method that is 8 worse but forgets less is chosen, at margin 1."""
    print(f"{'seeds':>5} {'seed SD':>7} {'before':>8} {'after':>8}")
    for seeds, sd in itertools.product((2, 3, 5), (1.0, 4.0)):
        old, new = [], []
        for _ in range(100):
            case = made_up(2, seeds, sd, rng, np.array([0.0, -8.0]), np.array([0.6, 0.3]))
            old.append(former(case, rng) == 1)
            new.append(present(case)[0] == 1)
        print(f"{seeds:>5} {sd:>7g} {100 * np.mean(old):>6.1f} % {100 * np.mean(new):>6.1f} %")


def lottery(rng: np.random.Generator) -> None:
    """Real results, seeds drawn from thirty: what is chosen, at margins of 1 and 3 BLEU."""
    records = read_records()
    methods = list(records)
    truth = np.array([aggregate(QUALITY, records[m][QUALITY]).mean() for m in methods])
    moved = np.array([aggregate(FORGETTING, records[m][FORGETTING]).mean() for m in methods])
    for method, score, kl in zip(methods, truth, moved, strict=True):
        print(f"all seeds, {method}: {score:.1f} BLEU, {kl:.3f} nats/token")
    for seeds in (2, 3, 5):
        rules: dict[str, Callable[[Case], tuple[int, bool]]] = {
            "before": lambda case: (former(case, rng), True),
            "margin 1": lambda case: present(case, 1.0),
            "margin 3": lambda case: present(case, 3.0),
        }
        for label, rule in rules.items():
            choices, firm, behind, forgets = Counter(), [], [], []
            for _ in range(40 if label == "before" else 100):
                quality, forgetting = [], []
                own = rng.choice(SEEDS, seeds, replace=False)  # the same of all, as in a sweep
                for m in methods:
                    quality.append(records[m][QUALITY][own])
                    forgetting.append(records[m][FORGETTING][own])
                choice, shown = rule(Case(QUALITY, quality, forgetting, truth, moved, 1.0))
                choices[methods[choice]] += 1
                firm.append(shown)
                behind.append(truth.max() - truth[choice])
                forgets.append(moved[choice])
            total = choices.total()
            said = ", ".join(f"{m} {100 * n / total:.0f} %" for m, n in choices.most_common())
            print(f"{seeds} seeds, {label:8}: {said}; mean regret {np.mean(behind):.2f}, forgetting "
                  f"{np.mean(forgets):.3f}, shown in {100 * np.mean(firm):.0f} %")  # fmt: skip
