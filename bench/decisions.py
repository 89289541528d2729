"""Error rates of the report's verdicts: the present and the former rule on the same results.

    python -m bench.decisions                    # all tables, about ten minutes on one core
    python -m bench.decisions aa regret          # some of them

The results are those of ``bench.cases``: real ones of six configurations with thirty seeds each, and
made-up ones of known truth. What each table shows stands above it; ``docs/statistics.md`` holds the
figures.
"""

from __future__ import annotations

import argparse
import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from bench import old_rule
from bench.cases import (
    FORGETTING,
    MADE_UP,
    QUALITY,
    SEEDS,
    Case,
    made_up,
    measured,
    read_records,
    some,
)
from harness.reporting.verdict.rule import decide
from harness.statistics.comparing.comparisons import Comparisons
from harness.statistics.comparing.replicates import Replicates, replicates
from harness.statistics.scores import aggregate

PAIRS = 700  # of sets of seeds, of one configuration
REDRAWN = 40  # times thirty seeds


def present(case: Case, margin: float | None = None) -> tuple[int, bool]:
    """Return the report's choice, and True if it is shown to be within the margin."""
    candidates = measured(case)
    if margin is not None:
        candidates = replace(candidates, margin=margin)
    decision = decide(candidates.members, candidates, draws=0)
    assert decision is not None and decision.chosen is not None
    return int(decision.chosen.label), decision.firm


def former(case: Case, rng: np.random.Generator) -> int:
    quality = old_rule.all_resampled(case.name, case.quality, rng)
    return old_rule.chosen(quality, True, old_rule.all_resampled(FORGETTING, case.forgetting, rng))


def _p(found: Comparisons) -> float:
    """Compare the first two candidates by themselves."""
    p = found.difference(0, 1).p_value
    assert p is not None
    return p


def compared(name: str, found: Sequence[np.ndarray]) -> Comparisons:
    return Comparisons([replicates(name, one, range(len(one))) for one in found], True)


# --- tables ---------------------------------------------------------------------------------------


def same_against_itself(rng: np.random.Generator) -> None:
    """Compare a configuration with itself under other seeds: real results, p ≤ .05, in %.

    700 pairs of disjoint sets of the thirty seeds; before, 60. Thirty seeds are one draw, and their
    pairs share them. Level: the same with thirty new seeds, normal with the variance that this
    configuration has, drawn 40 times; and what nineteen of twenty such draws give.
    """
    records = read_records()
    methods = list(records)
    whole = {m: replicates(QUALITY, records[m][QUALITY], range(SEEDS)) for m in methods}
    print(f"{'seeds':>5}  {'':8}" + "".join(f"{m:>14}" for m in methods))
    for seeds in (2, 3, 5):
        rows: dict[str, list[str]] = {"before": [], "now": [], "level": [], "range": []}
        for method in methods:
            pairs = [_disjoint(SEEDS, seeds, rng) for _ in range(PAIRS)]
            few = [pairs[i] for i in rng.choice(len(pairs), 60, replace=False)]
            former_p = []
            for pair in few:
                two = [records[method][QUALITY][list(own)] for own in pair]
                former_p.append(old_rule.p_value(*old_rule.all_resampled(QUALITY, two, rng)))
            redrawn = []
            for _ in range(REDRAWN):
                other = {m: _with_new_seeds(one, rng) for m, one in whole.items()}
                redrawn.append(_called_different(other, method, few))
            rows["before"].append(f"{100 * np.mean(np.array(former_p) <= 0.05):.1f}")
            rows["now"].append(f"{100 * _called_different(whole, method, pairs):.1f}")
            rows["level"].append(f"{100 * np.mean(redrawn):.1f}")
            low, high = np.quantile(redrawn, (0.025, 0.975))
            rows["range"].append(f"{100 * low:.0f} to {100 * high:.0f}")
        for label, found in rows.items():
            print(f"{seeds:>5}  {label:8}" + "".join(f"{text:>14}" for text in found), flush=True)


def _called_different(whole: Mapping[str, Replicates], method: str, pairs: Sequence) -> float:
    """Return the share of pairs of seeds under which ``method`` differs from itself, p ≤ .05."""
    found = []
    for a, b in pairs:
        others = [some(one, a) for m, one in whole.items() if m != method]
        own = [some(whole[method], seeds) for seeds in (a, b)]
        found.append(_p(Comparisons([*own, *others], True)) <= 0.05)
    return float(np.mean(found))


def _with_new_seeds(one: Replicates, rng: np.random.Generator) -> Replicates:
    assert one.influences is not None and one.spread is not None
    values = rng.normal(one.mean, one.spread**0.5, len(one.values))
    return Replicates(values, one.seeds, one.influences[rng.permutation(len(values))])


def _disjoint(n: int, size: int, rng: np.random.Generator) -> tuple[tuple[int, ...], ...]:
    """Draw two disjoint sets of ``size`` of n seeds."""
    drawn = rng.permutation(n)[: 2 * size]
    return tuple(sorted(drawn[:size])), tuple(sorted(drawn[size:]))


def family(rng: np.random.Generator) -> None:
    """Equal methods: is somebody called worse? k methods, seeds, SD of seeds over error of items."""
    print(f"{'k':>3} {'seeds':>5} {'seed SD':>7} {'before':>8} {'after':>8} {'pairs':>8}")
    for k, seeds, sd in itertools.product((6, 26, 60), (2, 3, 5), (0.0, 1.0, 2.0)):
        runs, fewer = (300, 60) if k == 6 else (100, 15) if k == 26 else (40, 5)
        after, before, pairs = [], [], []
        for run in range(runs):
            case = made_up(k, seeds, sd, rng)
            found = compared(MADE_UP, case.quality)
            after.append(found.different.any())
            pairs.append(_p(found) <= 0.05)
            if run < fewer:
                resampled = old_rule.all_resampled(MADE_UP, case.quality, rng)
                before.append(len(old_rule.tied(resampled, True)) < k)
        shares = (np.mean(x) for x in (before, after, pairs))
        print(f"{k:>3} {seeds:>5} {sd:>7g} " + " ".join(f"{100 * x:>6.1f} %" for x in shares))
    case = made_up(60, 2, 0.3, rng, np.r_[np.zeros(59), -54.0])
    found = compared(MADE_UP, case.quality)
    resampled = old_rule.all_resampled(MADE_UP, case.quality, rng)
    equal, told = 59 in old_rule.tied(resampled, True), bool(found.different[59, :59].all())
    print(
        f"60 candidates, one 54 worse: before as good as the best: {equal}; now told from all: {told}"
    )


def coverage(rng: np.random.Generator) -> None:
    """95 % intervals of a score: how often they hold the truth, and their length over the ideal's."""
    print(f"{'k':>3} {'seeds':>5} {'seed SD':>7} {'before':>8} {'after':>8} {'length':>8}")
    for k, seeds, sd in itertools.product((1, 2, 6), (2, 3, 5), (0.0, 0.5, 1.0, 2.0, 4.0)):
        before, after, lengths = [], [], []
        ideal = 2 * 1.96 * (1 + 0.25 + sd**2 / seeds + 0.36 / seeds) ** 0.5
        for run in range(1200 // k):
            case = made_up(k, seeds, sd, rng)
            found = compared(MADE_UP, case.quality)
            for i in range(k):
                low, high = found.interval(i) or (0.0, 0.0)
                after.append(low <= 0 <= high)
                lengths.append((high - low) / ideal)
            if run < 150 // k:
                for one in old_rule.all_resampled(MADE_UP, case.quality, rng):
                    before.append(one.interval[0] <= 0 <= one.interval[1])
        shares = f"{100 * np.mean(before):>6.1f} % {100 * np.mean(after):>6.1f} %"
        print(f"{k:>3} {seeds:>5} {sd:>7g} {shares} {np.mean(lengths):>8.2f}")


def regret(rng: np.random.Generator) -> None:
    """Six methods, margin 1: choices truly beyond it, and what a choice forgets.

    A method that learns more forgets more. Forgetting: over that of the least forgetting truly within
    the margin, mean of the runs that chose one truly within it. Shown: runs in which the rule says that
    its choice is within the margin.
    """
    names = ("before", "forget", "after", "forget", "shown", "wrong")
    print(f"{'spread':>7} {'seeds':>5} {'seed SD':>7} " + " ".join(f"{name:>8}" for name in names))
    for spread, seeds, sd in itertools.product((0.5, 2.0, 8.0), (2, 3, 5), (0.1, 0.5, 2.0)):
        runs, fewer = 300, 60
        before, after = _Tally(), _Tally()
        shown = wrong = 0
        for run in range(runs):
            means = rng.normal(0, spread, 6)
            forgets = 0.5 * np.exp(0.4 * means / spread + rng.normal(0, 0.4, 6))
            case = made_up(6, seeds, sd, rng, means, forgets, method_sd=0.2, crossed_sd=0.2)
            choice, firm = present(case)
            after.add(case, choice)
            if firm:
                shown += 1
                wrong += means[choice] < means.max() - case.margin
            if run < fewer:
                before.add(case, former(case, rng))
        print(f"{spread:>7g} {seeds:>5} {sd:>7g}  {before.text}  {after.text}  "
              f"{100 * shown / runs:>5.1f} % {100 * wrong / runs:>5.1f} %")  # fmt: skip


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


TABLES = {
    "aa": same_against_itself,
    "family": family,
    "coverage": coverage,
    "regret": regret,
    "noisy": noisy,
    "lottery": lottery,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", help=", ".join(TABLES))
    for name in parser.parse_args().tables or TABLES:
        print(f"\n{name}: {(TABLES[name].__doc__ or '').strip()}\n")
        TABLES[name](np.random.default_rng(0))


if __name__ == "__main__":
    main()
