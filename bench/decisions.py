"""Error rates of the report's verdicts: the present and the former rule on the same results.

    python -m bench.decisions                    # all tables, about twenty minutes on one core
    python -m bench.decisions aa regret          # some of them

The results are those of ``bench.cases``: real ones of six configurations with thirty seeds each, and
made-up ones of known truth. What each table shows stands above it; ``docs/statistics.md`` holds the
figures.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from bench import old_rule
from bench.cases import MADE_UP, QUALITY, SEEDS, made_up, read_records, some
from bench.choices import lottery, noisy, regret
from harness.statistics.comparing.comparisons import Comparisons
from harness.statistics.comparing.replicates import Replicates, replicates

PAIRS = 700  # of sets of seeds, of one configuration
REDRAWN = 40  # times thirty seeds


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
        runs, fewer = (1000, 60) if k == 6 else (100, 15) if k == 26 else (40, 5)
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
