"""Racing with confirm seeds against fixed numbers of seeds: cost, regret, and how often it errs.

    python -m bench.racing                  # all tables, about half an hour on one core
    python -m bench.racing errors           # some of them

The race is the product's own: ``harness.allowance.seed_race`` decides after each round who is out
and who runs again, by the report's rule. Made-up methods of known truth (``bench.cases``) and
the real results of six configurations with ten seeds each. A cost is a number of confirm runs. What
each table shows stands above it; ``docs/statistics.md`` holds the figures.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.cases import FORGETTING, QUALITY, Case, made_up, measured, read_records
from harness.allowance.seed_race import FIRST_SEEDS, deciding, look, next_seeds
from harness.reporting.evidence.candidates import CandidateSet
from harness.reporting.verdict.contest import contest
from harness.reporting.verdict.rule import decide
from harness.statistics.comparing.comparisons import Comparisons
from harness.statistics.comparing.looks import is_due
from harness.statistics.scores import aggregate

MOST_SEEDS = 40  # of each made-up method


@dataclass(frozen=True)
class Ended:
    """Result of a race or of a fixed design."""

    chosen: int
    firm: bool  # the report says that the choice is within the margin
    cost: int  # confirm runs
    looks: int
    dropped: tuple[int, ...]
    candidates: CandidateSet


def ended(
    candidates: CandidateSet, seeds: Sequence[int], looks: int, dropped: Sequence[int]
) -> Ended:
    decision = decide(candidates.members, candidates, draws=0)
    assert decision is not None and decision.chosen is not None
    chosen = int(decision.chosen.label)
    return Ended(chosen, decision.firm, sum(seeds), looks, tuple(dropped), candidates)


def fixed(case: Case, seeds: int) -> Ended:
    """Every finalist with as many seeds, looked at once."""
    each = [seeds] * len(case.quality)
    return ended(measured(case, each, 0), each, 0, ())


def race(case: Case, most: int) -> Ended:
    """Rounds until the choice is shown or ``most`` runs are spent."""
    seeds = {str(i): FIRST_SEEDS for i in range(len(case.quality))}
    dropped: list[int] = []
    looks, seen_at = 0, 0
    while True:
        spent = sum(seeds.values())
        if is_due(spent, seen_at) or spent >= most:
            looks, seen_at = looks + 1, spent
            seen = look(measured(case, list(seeds.values()), looks, dropped))
            dropped += [int(name) for name in seen.dropped]
            if seen.over:
                break
        if spent >= most:
            break
        pair, _ = deciding(measured(case, list(seeds.values()), looks + 1, dropped))
        if not pair:
            break
        following = next_seeds(seeds, [c.label for c in pair])
        if any(n > len(case.quality[0]) for n in following.values()):
            most = spent  # no more results of this one
            continue
        for name, n in following.items():
            seeds[name] = min(n, seeds[name] + most - sum(seeds.values()))
    each = list(seeds.values())
    return ended(measured(case, each, looks, dropped), each, looks, dropped)


def world(
    k: int, sd: float, rng: np.random.Generator, means: np.ndarray, margin: float = 1.0
) -> Case:
    """Methods with many seeds. One that learns more forgets more, as in ``bench.cases``."""
    spread = max(float(means.std()), 0.1)
    forgets = 0.5 * np.exp(0.4 * (means - means.mean()) / spread + rng.normal(0, 0.4, k))
    case = made_up(k, MOST_SEEDS, sd, rng, means, forgets, method_sd=0.2, crossed_sd=0.2)
    return replace(case, margin=margin)


def errors(rng: np.random.Generator) -> None:
    """Looking after every round: wrong drops, wrong 'within the margin', significance, coverage.

    Drop: the candidate that lies exactly the margin (0, 1) behind five equal ones is dropped, which is
    to happen in 5 % at most. Within: five equal ones and a best one 1.5 ahead, margin 1; the report
    says of one of the five that it is within the margin. Letters: of six equal ones, any two are called
    different at the end. Holds: 95 % intervals at the end that hold the truth. Looks: on average.
    """
    print(f"{'seed SD':>7} {'drop, 0':>8} {'drop, 1':>8} {'within':>8} {'letters':>8} {'holds':>8} "
          f"{'looks':>6}")  # fmt: skip
    for sd in (0.0, 0.5, 1.0, 2.0, 4.0):
        runs, most = 100, 90
        drops, within, letters, holds, looks = {0.0: [], 1.0: []}, [], [], [], []
        for _ in range(runs):
            for margin, found in drops.items():
                means = np.r_[0.0, np.full(5, margin)]
                one = race(world(6, sd, rng, means, margin), most)
                found.append(0 in one.dropped)
                if margin == 0:
                    looks.append(one.looks)
                    quality = [c.quality for c in one.candidates.members]
                    each = [q.replicates for q in quality if q is not None]
                    together = Comparisons(each, True)
                    intervals = [together.interval(i) or (0.0, 0.0) for i in range(6)]
                    holds += [low <= 0 <= high for low, high in intervals]
                    able = [c for c in one.candidates.members if c.feasible]
                    letters.append(contest(able, one.candidates).different.any())
            one = race(world(6, sd, rng, np.r_[1.5, np.zeros(5)]), most)
            within.append(one.firm and one.chosen > 0)
        shares = [np.mean(x) for x in (*drops.values(), within, letters, holds)]
        told = " ".join(f"{100 * x:>6.1f} %" for x in shares)
        print(f"{sd:>7g} {told} {np.mean(looks):>6.1f}", flush=True)


def regret(rng: np.random.Generator, sds: Sequence[float] = (0.5, 2.0, 4.0)) -> None:
    """Finalists of known truth, margin 1: what a choice costs and loses, raced and with fixed seeds.

    Beyond: the choice is truly worse than the best by more than the margin. Regret: by how much worse
    than the best, mean. Firm: the report says that its choice is within the margin. The race may spend
    as much as the fixed design of the row.
    """
    head = ("cost", "beyond", "regret", "firm")
    print(f"{'k':>3} {'spread':>6} {'seed SD':>7} {'fixed':>6} "
          + " ".join(f"{x:>8}" for x in (*head, *head)))  # fmt: skip
    for sd, spread, k in itertools.product(sds, (2.0, 8.0), (6, 12)):
        for seeds in (2, 3, 5, 10, 20):
            one, two = [], []
            for _ in range(60 if k == 6 else 30):
                case = world(k, sd, rng, rng.normal(0, spread, k))
                one.append((case, fixed(case, seeds)))
                two.append((case, race(case, k * seeds)))
            print(f"{k:>3} {spread:>6g} {sd:>7g} {seeds:>6} {_row(one)} {_row(two)}", flush=True)


def _row(found: Sequence[tuple[Case, Ended]]) -> str:
    behind = np.array([case.truth.max() - case.truth[one.chosen] for case, one in found])
    margins = np.array([case.margin for case, _ in found])
    cost = np.mean([one.cost for _, one in found])
    firm = np.mean([one.firm for _, one in found])
    return (f"{cost:>8.1f} {100 * np.mean(behind > margins):>6.1f} % {behind.mean():>8.3f} "
            f"{100 * firm:>6.1f} %")  # fmt: skip


def real(rng: np.random.Generator) -> None:
    """Six real configurations, ten seeds of each in random order: the race against fixed seeds."""
    records = read_records()
    methods = list(records)
    truth = np.array([aggregate(QUALITY, records[m][QUALITY]).mean() for m in methods])
    moved = np.array([aggregate(FORGETTING, records[m][FORGETTING]).mean() for m in methods])
    head = ("cost", "beyond", "regret", "firm")
    print(f"{'margin':>6} {'fixed':>6} " + " ".join(f"{x:>8}" for x in (*head, *head)))
    for margin, seeds in itertools.product((1.0, 3.0), (2, 3, 4, 6, 8)):
        one, two = [], []
        for _ in range(100):
            order = rng.permutation(10)
            quality = [records[m][QUALITY][order] for m in methods]
            forgetting = [records[m][FORGETTING][order] for m in methods]
            case = Case(QUALITY, quality, forgetting, truth, moved, margin)
            one.append((case, fixed(case, seeds)))
            two.append((case, race(case, 6 * seeds)))
        print(f"{margin:>6g} {seeds:>6} {_row(one)} {_row(two)}", flush=True)


TABLES: dict[str, Callable[[np.random.Generator], None]] = {
    "errors": errors,
    "regret": regret,
    "real": real,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", choices=[*TABLES, []], help="all of them by default")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for name in arguments.tables or TABLES:
        print(f"\n{name}: {(TABLES[name].__doc__ or '').strip()}\n", flush=True)
        TABLES[name](np.random.default_rng(arguments.seed))


if __name__ == "__main__":
    main()
