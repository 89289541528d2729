"""Racing with confirm seeds against fixed numbers of seeds: cost, regret, and how often it errs.

    python -m bench.racing                  # all tables, about two hours on one core
    python -m bench.racing errors           # some of them

The race is the product's own: ``harness.allowance.seed_race`` decides after each round who is out
and who runs again, by the report's rule. Made-up methods of known truth (``bench.cases``) and
the real results of six configurations with thirty seeds each. A cost is a number of confirm runs. What
each table shows stands above it; ``docs/statistics.md`` holds the figures.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.cases import FORGETTING, QUALITY, SEEDS, Case, made_up, measured, read_records
from harness.allowance.seed_allocation import seeds_for_choice, seeds_for_pair
from harness.allowance.seed_race import FIRST_SEEDS, deciding, look, probably_right
from harness.reporting.evidence.candidates import CandidateSet
from harness.reporting.verdict.contest import contest
from harness.reporting.verdict.rule import decide
from harness.statistics.comparing.comparisons import Comparisons
from harness.statistics.comparing.looks import is_due
from harness.statistics.scores import aggregate

MOST_SEEDS = 100  # of each made-up method
DESIGNS = (2, 3, 5, 7, 10, 15, 20, 30, 40)  # fixed seeds of each finalist
FINALISTS = (  # number, spread of their quality, seed SD, in margins
    (4, 8.0, 2.0),
    (6, 8.0, 2.0),
    (12, 8.0, 2.0),
    (4, 2.0, 2.0),
    (6, 2.0, 2.0),
    (12, 2.0, 2.0),
    (6, 0.5, 2.0),
    (12, 0.5, 2.0),
    (4, 2.0, 4.0),
    (6, 2.0, 4.0),
)


@dataclass(frozen=True)
class Ended:
    """Result of a race or of a fixed design."""

    chosen: int
    firm: bool  # the report says that the choice is within the margin
    cost: int  # confirm runs
    looks: int
    dropped: tuple[int, ...]
    candidates: CandidateSet
    early: bool = False  # the race ended before it had spent all it might


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


def race(case: Case, most: int, shown: bool = False) -> Ended:
    """Race until the choice is probably right or ``most`` runs are spent.

    With ``shown`` until the choice is shown to be within the margin, as with ``budget=+30m``.
    """
    return raced(case, [most], shown)[0]


def raced(case: Case, most: Sequence[int], shown: bool = False) -> list[Ended]:
    """Return the results of a race that may spend ``most`` runs, for each of them; they increase."""
    seeds = {str(i): FIRST_SEEDS for i in range(len(case.quality))}
    dropped: list[int] = []
    looks, seen_at, over = 0, 0, False
    found: list[Ended] = []
    while True:
        each, spent = list(seeds.values()), sum(seeds.values())
        if is_due(spent, seen_at):
            looks, seen_at = looks + 1, spent
            seen = look(measured(case, each, looks, dropped))
            dropped += [int(name) for name in seen.dropped]
            over = seen.over is not None
        now = measured(case, each, looks + 1, dropped)
        if shown:
            pair, _ = deciding(now)
            following = seeds_for_pair(seeds, [c.label for c in pair]) if pair else {}
        else:
            following = seeds_for_choice(now, seeds, 1)
        over = over or not following or any(n > len(case.quality[0]) for n in following.values())
        final: Ended | None = None
        while len(found) < len(most):
            at_most = most[len(found)]
            right = not shown and probably_right(now, at_most / len(seeds)) is not None
            if not (over or right or spent >= at_most):
                break
            if final is None:
                last = looks + (spent > seen_at)  # the report is a look
                at_end = measured(case, each, last, dropped)
                out = [*dropped, *(int(name) for name in look(at_end).dropped)]
                final = ended(measured(case, each, last, out), each, last, out)
            found.append(replace(final, early=over or right))
        if len(found) == len(most):
            return found
        for name, n in following.items():
            seeds[name] = min(n, seeds[name] + most[len(found)] - sum(seeds.values()))


def world(
    k: int,
    sd: float,
    rng: np.random.Generator,
    means: np.ndarray,
    margin: float = 1.0,
    seeds: int = MOST_SEEDS,
) -> Case:
    """Methods with many ``seeds``. One that learns more forgets more, as in ``bench.cases``."""
    spread = max(float(means.std()), 0.1)
    forgets = 0.5 * np.exp(0.4 * (means - means.mean()) / spread + rng.normal(0, 0.4, k))
    case = made_up(k, seeds, sd, rng, means, forgets, method_sd=0.2, crossed_sd=0.2)
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
            one = race(world(6, sd, rng, np.r_[1.5, np.zeros(5)], seeds=40), most, shown=True)
            within.append(one.firm and one.chosen > 0)
        shares = [np.mean(x) for x in (*drops.values(), within, letters, holds)]
        told = " ".join(f"{100 * x:>6.1f} %" for x in shares)
        print(f"{sd:>7g} {told} {np.mean(looks):>6.1f}", flush=True)


def early(rng: np.random.Generator) -> None:
    """Ends of a race as probably right: how many of them are wrong, for unfavourable truths.

    Margin 1. Five equal ones, and a best one ahead of them by the lead. Wrong: of all races, those
    that ended early with one of the five.
    """
    print(f"{'lead':>5} {'seed SD':>7} {'ended':>8} {'wrong':>8} {'runs':>6}")
    for lead, sd in itertools.product((1.1, 1.5, 2.5), (0.5, 1.0, 2.0)):
        found = [race(world(6, sd, rng, np.r_[lead, np.zeros(5)]), 200) for _ in range(200)]
        wrong = np.mean([one.early and one.chosen > 0 for one in found])
        ends, cost = np.mean([one.early for one in found]), np.mean([one.cost for one in found])
        print(
            f"{lead:>5g} {sd:>7g} {100 * ends:>6.1f} % {100 * wrong:>6.1f} % {cost:>6.0f}",
            flush=True,
        )


def regret(
    _: np.random.Generator | None,
    finalists: Sequence[tuple[int, float, float]] = FINALISTS,
    runs: int | None = None,
) -> None:
    """Finalists of known truth, margin 1: what a choice costs and loses, raced and with fixed seeds.

    Beyond: the choice is truly worse than the best by more than the margin. Regret: by how much worse
    than the best, mean. Firm: the report says that its choice is within the margin. Forgets: over the
    least of those truly within the margin. The race may spend as much as the fixed design of the
    row. Share: the mean cost of a race that is as seldom beyond as the fixed design, whatever its
    maximum, over the cost of that design.
    """
    head = ("cost", "beyond", "regret", "firm", "forgets")
    print(f"{'k':>3} {'spread':>6} {'seed SD':>7} {'fixed':>6} "
          + " ".join(f"{x:>8}" for x in (*head, *head, "share")))  # fmt: skip
    for k, spread, sd in finalists:
        own = np.random.default_rng([k, int(10 * spread), int(10 * sd)])
        found: list[tuple[Case, list[Ended], list[Ended]]] = []
        for _ in range(runs or (200 if k == 12 else 800)):
            case = world(k, sd, own, own.normal(0, spread, k))
            at_once = [fixed(case, n) for n in DESIGNS]
            found.append((case, at_once, raced(case, [k * n for n in DESIGNS])))
            case.__dict__.pop("whole")  # its influences take memory
        fixed_at = [[(case, of[i]) for case, of, _ in found] for i in range(len(DESIGNS))]
        raced_at = [[(case, of[i]) for case, _, of in found] for i in range(len(DESIGNS))]
        costs, beyond = zip(*((_cost(one), _loss(one)[0]) for one in raced_at), strict=True)
        for n, at_once, race_at in zip(DESIGNS, fixed_at, raced_at, strict=True):
            share = cost_of(costs, beyond, _loss(at_once)[0]) / (k * n)
            print(f"{k:>3} {spread:>6g} {sd:>7g} {n:>6} {_row(at_once)} {_row(race_at)} "
                  f"{share:>8.2f}", flush=True)  # fmt: skip


def cost_of(costs: Sequence[float], beyond: Sequence[float], goal: float) -> float:
    """Return the cost at which the share ``beyond`` falls to the ``goal``; NaN if it does not.

    Between two designs the logarithm of the share is linear in the cost.
    """
    falling = np.log(np.maximum(np.minimum.accumulate(beyond), 1e-4))
    least = np.log(max(goal, 1e-4))
    i = int(np.argmax(falling <= least))
    if falling[i] > least:
        return float("nan")
    if i == 0 or falling[i - 1] == falling[i]:
        return costs[i]
    return float(np.interp(least, falling[[i, i - 1]], [costs[i], costs[i - 1]]))


def _cost(found: Sequence[tuple[Case, Ended]]) -> float:
    return float(np.mean([one.cost for _, one in found]))


def _loss(found: Sequence[tuple[Case, Ended]]) -> tuple[float, float]:
    """Return the share of choices beyond the margin, and the mean regret."""
    behind = np.array([case.truth.max() - case.truth[one.chosen] for case, one in found])
    margins = np.array([case.margin for case, _ in found])
    return float(np.mean(behind > margins)), float(behind.mean())


def _row(found: Sequence[tuple[Case, Ended]]) -> str:
    beyond, behind = _loss(found)
    firm = np.mean([one.firm for _, one in found])
    forgets = []
    for case, one in found:
        admissible = case.truth >= case.truth.max() - case.margin
        if admissible[one.chosen]:
            forgets.append(case.moved[one.chosen] / case.moved[admissible].min())
    return (f"{_cost(found):>8.1f} {100 * beyond:>6.1f} % {behind:>8.3f} {100 * firm:>6.1f} % "
            f"{np.mean(forgets):>8.2f}")  # fmt: skip


def real(rng: np.random.Generator) -> None:
    """Six real configurations, their thirty seeds in random order: the race against fixed seeds.

    The columns are those of ``regret``.
    """
    records = read_records()
    methods = list(records)
    truth = np.array([aggregate(QUALITY, records[m][QUALITY]).mean() for m in methods])
    moved = np.array([aggregate(FORGETTING, records[m][FORGETTING]).mean() for m in methods])
    head = ("cost", "beyond", "regret", "firm", "forgets")
    print(f"{'margin':>6} {'fixed':>6} " + " ".join(f"{x:>8}" for x in (*head, *head)))
    for margin, seeds in itertools.product((1.0, 3.0), (2, 3, 4, 6, 8)):
        one, two = [], []
        for _ in range(100):
            order = rng.permutation(SEEDS)
            quality = [records[m][QUALITY][order] for m in methods]
            forgetting = [records[m][FORGETTING][order] for m in methods]
            case = Case(QUALITY, quality, forgetting, truth, moved, margin)
            one.append((case, fixed(case, seeds)))
            two.append((case, race(case, 6 * seeds)))
        print(f"{margin:>6g} {seeds:>6} {_row(one)} {_row(two)}", flush=True)


TABLES: dict[str, Callable[[np.random.Generator], None]] = {
    "errors": errors,
    "early": early,
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
