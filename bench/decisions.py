"""Error rates of the report's verdicts: the present and the former rule on the same results.

    python -m bench.decisions                    # all tables, about ten minutes on one core
    python -m bench.decisions aa regret          # some of them
    python -m bench.decisions keep FOLDER        # pack what bench.seed_noise left into
    decisions_records.npz

Real results: six configurations of the built-in example with ten seeds each (bench.seed_noise), their
per-example statistics packed in ``decisions_records.npz``. Made-up ones: methods of known truth, a
score of each item being the method's mean + the item + method × item + seed + seed × item, all
normal. What each table shows stands above it; ``docs/statistics.md`` holds the figures.
"""

from __future__ import annotations

import argparse
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench import old_rule
from harness.reporting.evidence.candidates import Candidate, CandidateSet
from harness.reporting.evidence.estimates import Estimate
from harness.reporting.evidence.folders.run_folder import read_items
from harness.reporting.verdict.rule import decide
from harness.statistics.comparing.comparisons import Comparisons
from harness.statistics.comparing.replicates import replicates
from harness.statistics.scores import aggregate

RECORDS = Path(__file__).with_name("decisions_records.npz")
QUALITY, FORGETTING = "validation.bleu", "forgetting.kl"
MADE_UP = "test.made_up"  # a plain mean over items
SEEDS = 10  # of each real configuration
N, ITEM = 200, 1.0  # items, and the standard error that they alone give a score


@dataclass(frozen=True)
class Case:
    """Candidates as they were measured: (S, n, k) statistics each, of quality and of forgetting."""

    name: str
    quality: Sequence[np.ndarray]
    forgetting: Sequence[np.ndarray]
    truth: np.ndarray  # (k,) quality
    moved: np.ndarray  # (k,) forgetting
    margin: float


def made_up(
    k: int,
    seeds: int,
    seed_sd: float,
    rng: np.random.Generator,
    means: np.ndarray | None = None,
    forgets: np.ndarray | None = None,
    method_sd: float = 0.5,
    crossed_sd: float = 0.6,
) -> Case:
    """k methods; SDs in units of the error that the items give one score."""
    means = np.zeros(k) if means is None else means
    forgets = np.full(k, 0.5) if forgets is None else forgets
    wide = ITEM * N**0.5
    items = rng.normal(0, wide, (1, 1, N)) + rng.normal(0, method_sd * wide, (k, 1, N))
    crossed = rng.normal(0, crossed_sd * wide, (k, seeds, N))
    scores = means[:, None, None] + items + rng.normal(0, seed_sd, (k, seeds, 1)) + crossed
    kl = forgets[:, None, None] * np.exp(rng.normal(0, 0.05, (k, seeds, 1)))
    kl = kl * rng.gamma(8, 1 / 8, (1, 1, 100)) * np.exp(rng.normal(0, 0.1, (k, seeds, 100)))
    tokens = np.full((k, seeds, 100), 100.0)
    forgetting = np.stack([kl * tokens, tokens], axis=-1)
    return Case(MADE_UP, list(scores[..., None]), list(forgetting), means, forgets, 1.0)


def present(case: Case, margin: float | None = None) -> tuple[int, bool]:
    """Return the report's choice, and True if it is shown to be within the margin."""
    candidates = measured(case)
    if margin is not None:
        candidates = replace(candidates, margin=margin)
    decision = decide(candidates.members, candidates, draws=0)
    assert decision is not None and decision.chosen is not None
    return int(decision.chosen.label), decision.firm


def measured(
    case: Case, seeds: Sequence[int] = (), looks: int = 0, dropped: Sequence[int] = ()
) -> CandidateSet:
    """Return the candidates as a report reads them, with the first ``seeds`` seeds of each."""
    members = []
    for i, each in enumerate(zip(case.quality, case.forgetting, strict=True)):
        n = seeds[i] if seeds else None
        quality, forgetting = (
            _estimate(name, one[:n])
            for name, one in zip((case.name, FORGETTING), each, strict=True)
        )
        members.append(
            Candidate(
                label=str(i),
                method=str(i),
                configuration=str(i),
                settings={},
                rows=(),
                other_rows=(),
                quality=quality,
                forgetting=forgetting,
                estimates={case.name: quality, FORGETTING: forgetting},
                items={},
                cost={},
                base={},
                problems=("dropped",) if i in dropped else (),
                dropped=i in dropped,
            )
        )
    return CandidateSet(
        members=tuple(members),
        quality=case.name,
        maximize=True,
        forgetting=FORGETTING,
        confirmed=True,
        remarks=(),
        margin=case.margin,
        looks=looks,
    )


def _estimate(name: str, statistics: np.ndarray) -> Estimate:
    found = replicates(name, statistics, range(len(statistics)))
    return Estimate(
        name=name,
        value=found.mean,
        low=None,
        high=None,
        n=found.n,
        by_seed=tuple(found.values),
        replicates=found,
    )


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
    """Print an A/A test on real results: a configuration against itself with other seeds."""
    records = read_records()
    methods = list(records)
    print(f"{'seeds':>5}  {'':8}" + "".join(f"{m:>15}" for m in methods))
    for seeds in (2, 3, 5):
        before, after = [], []
        for method in methods:
            one, two = [], []
            for a, b in splits(len(records[method][QUALITY]), seeds, 150, rng):
                found = [(method, a), (method, b), *((m, a) for m in methods if m != method)]
                each = [replicates(QUALITY, records[m][QUALITY][list(s)], s) for m, s in found]
                two.append(_p(Comparisons(each, True)))
                pair = [records[method][QUALITY][list(s)] for s in (a, b)]
                if len(one) < 60:
                    one.append(old_rule.p_value(*old_rule.all_resampled(QUALITY, pair, rng)))
            before.append(np.mean(np.array(one) <= 0.05))
            after.append(np.mean(np.array(two) <= 0.05))
        for label, found in (("before", before), ("after", after)):
            print(f"{seeds:>5}  {label:8}" + "".join(f"{100 * x:>13.1f} %" for x in found))


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
    """Real results, seeds drawn from ten: what is chosen, at margins of 1 and 3 BLEU."""
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


# --- records --------------------------------------------------------------------------------------


def splits(n: int, size: int, most: int, rng: np.random.Generator) -> Iterator[tuple]:
    """Disjoint pairs of ``size`` of n seeds, at most ``most``, drawn at random."""
    for _ in range(most):
        order = rng.permutation(n)
        yield tuple(order[:size]), tuple(order[size : 2 * size])


def read_records() -> dict[str, dict[str, np.ndarray]]:
    """method -> measurement -> (S, n, k)."""
    found: dict[str, dict[str, np.ndarray]] = {}
    with np.load(RECORDS) as packed:
        for key in packed.files:
            method, name = key.split("|")
            found.setdefault(method, {})[name] = packed[key].astype(float)
    return found


def keep(folder: Path) -> None:
    """Pack the per-example statistics that bench.seed_noise left."""
    packed = {}
    for method in sorted(path for path in folder.iterdir() if (path / "1").is_dir()):
        seeds = sorted(method.glob("*/items.jsonl"), key=lambda path: int(path.parent.name))
        each = [read_items(path.parent) for path in seeds]
        for name in (QUALITY, FORGETTING):
            statistics = np.stack([items[name] for items in each])
            whole = np.array_equal(statistics, statistics.round())
            kept = statistics.astype(np.int16 if whole else np.float32)
            packed[f"{method.name}|{name}"] = kept
    np.savez_compressed(RECORDS, **packed)
    print(f"{RECORDS}: {RECORDS.stat().st_size / 1e6:.2f} MB")


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
    parser.add_argument("tables", nargs="*", help=f"{', '.join(TABLES)}; or: keep FOLDER")
    arguments = parser.parse_args()
    if arguments.tables[:1] == ["keep"]:
        keep(Path(arguments.tables[1]))
        return
    for name in arguments.tables or TABLES:
        print(f"\n{name}: {(TABLES[name].__doc__ or '').strip()}\n")
        TABLES[name](np.random.default_rng(0))


if __name__ == "__main__":
    main()
