"""Searches of known truth: what the driver's own functions make of them, and what former ones did.

    python -m bench.searching                # all tables
    python -m bench.searching finalists      # some of them

A made-up method has a best rate, from which its quality falls off to either side; it forgets more the
higher the rate is. Its scores carry noise of items and of seeds, both in units of the standard error
that the items give one score. What each table shows stands above it; ``docs/statistics.md`` holds the
figures.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import optuna

from bench import old_rule
from bench.cases import ITEM, made_up
from bench.choices import present
from harness.compose.command_line import compose_sweep
from harness.compose.method_plan import MethodPlan
from harness.config import SweepConfig
from harness.config.search_space import Interval
from harness.records import Measurement, Record
from harness.search.early_stop import Stopping
from harness.search.finalists import finalists
from harness.search.optuna_studies import samplers
from harness.search.optuna_studies.study import MethodStudy
from harness.search.pruning.asha import TIES, RungTable
from harness.search.untried import untried
from harness.statistics.comparing import one_seed

QUALITY, FORGETTING = "validation.bleu", "forgetting.kl"
MARGIN = 1.0


@dataclass(frozen=True)
class Search:
    """One method's trials: what is true of them, and the quality that one seed measured."""

    quality: np.ndarray
    forgetting: np.ndarray
    measured: np.ndarray

    @property
    def records(self) -> list[Record]:
        return [
            record(i, {QUALITY: score(q), FORGETTING: score(kl, None)})
            for i, (q, kl) in enumerate(zip(self.measured, self.forgetting, strict=True))
        ]


def score(value: float, error: float | None = ITEM) -> Measurement:
    return Measurement(float(value), "", 200, None, "made up", error)


def record(number: int, measurements: dict[str, Measurement], **more) -> Record:
    about = dict(status="complete", stage="search", method="lora", trial=number, attempt=1, seed=0)
    about |= dict(fingerprint=f"{number:06}", configuration=f"{number:06}", config={}, overrides=[])
    return Record(**(about | more), measurements=measurements)


def landscape(shares: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return quality and forgetting of a random method at (n,) positions in the range of the rate."""
    best, width, top = rng.uniform(0.4, 0.9), rng.uniform(0.25, 0.6), rng.uniform(40, 90)
    quality = top * np.clip(1 - 0.5 * ((shares - best) / width) ** 2, 0.02, None)
    quality = quality + rng.normal(0, 0.5, len(shares))  # ranks and the like
    forgetting = 0.02 * np.exp(4.5 * shares + rng.normal(0, 0.2, len(shares)))
    return quality, forgetting


def searched(trials: int, seed_sd: float, rng: np.random.Generator) -> Search:
    quality, forgetting = landscape(rng.random(trials), rng)
    noise = np.hypot(ITEM, seed_sd * ITEM)
    return Search(quality, forgetting, quality + rng.normal(0, noise, trials))


# --- tables ---------------------------------------------------------------------------------------


def of_finalists(rng: np.random.Generator) -> None:
    """Two finalists of twelve trials, confirmed with three seeds and decided by the report's rule.

    Second: runs in which the second finalist is truly more than 10 worse than the best trial. Beyond:
    the choice is truly worse than the best trial by more than the margin, of 1. Forgets: of the other
    choices, over the least forgetting trial truly within the margin of the best.
    """
    sweep, _ = compose_sweep(["method=lora", "tracking=none", f"confirm.margin={MARGIN}"])
    ways, n = list(sweep.objectives.values()), sweep.confirm.finalists

    def before(search: Search) -> Sequence[int]:
        points = np.stack([search.measured, search.forgetting], axis=1)
        return old_rule.finalists(points.tolist(), ways, n)

    def now(search: Search) -> Sequence[int]:
        return [one.trial for one in finalists(search.records, sweep)]

    print(f"{'seed SD':>7} {'rule':>14} {'second':>8} {'beyond':>8} {'forgets':>8}")
    stated = one_seed.SEED_SHARE
    for sd in (0.0, 0.5, 1.0, 2.0, 4.0):
        state = rng.bit_generator.state
        for label, rule, share in [("before", before, stated), *(
            ("now" if s == stated else f"share {s:g}", now, s) for s in (0.0, 1.0, 3.0)
        )]:  # fmt: skip
            rng.bit_generator.state = state
            one_seed.SEED_SHARE = share
            second, beyond, forgets = [], [], []
            for _ in range(300):
                search = searched(12, sd, rng)
                inner = np.random.default_rng(int(rng.integers(2**32)))
                places = rule(search)
                best = search.quality.max()
                second.append(best - search.quality[places[1]] > 10)
                means, moved = search.quality[places], search.forgetting[places]
                case = made_up(n, 3, sd, inner, means, moved, method_sd=0.3, crossed_sd=0.3)
                choice = places[present(case, MARGIN)[0]]
                beyond.append(best - search.quality[choice] > MARGIN)
                if not beyond[-1]:
                    able = search.quality >= best - MARGIN
                    forgets.append(search.forgetting[choice] / search.forgetting[able].min())
            found = (np.mean(second), np.mean(beyond))
            print(f"{sd:>7g} {label:>14} " + " ".join(f"{100 * x:>6.1f} %" for x in found)
                  + f" {np.mean(forgets):>8.2f}")  # fmt: skip
    one_seed.SEED_SHARE = stated


def of_rungs(rng: np.random.Generator) -> None:
    """Twenty-seven trials, stopped at a tenth, three tenths and nine tenths of their steps by ASHA.

    What learns slowly forgets little. Whole: trials that ran to their end. Best, near: runs that still
    hold the truly best, and one that is within the margin of it. Forgets: of the least forgetting one
    within the margin that is left, over the same without pruning.
    """
    ways = {"validation.perplexity": "minimize", FORGETTING: "minimize"}
    print(f"{'tie-break':>10} {'whole':>6} {'best':>8} {'near':>8} {'forgets':>8}")
    state = rng.bit_generator.state
    for ties in TIES:
        rng.bit_generator.state = state
        whole, kept, near, forgets = [], [], [], []
        for _ in range(200):
            shares = rng.random(27)
            quality, forgetting = landscape(shares, rng)
            slowness = 0.1 + 0.3 * (1 - shares) * rng.random()
            left = set(range(27))
            with tempfile.TemporaryDirectory() as folder:
                rungs = RungTable(Path(folder) / "rungs.jsonl", ways, 3, 1, ties)
                noise = rng.normal(0, 0.01, (3, 27))
                for trial in range(27):
                    for row, done in enumerate((0.1, 0.3, 0.9)):
                        learnt = quality[trial] * (1 - np.exp(-done / slowness[trial]))
                        values = (
                            np.exp(3 - learnt / 30 + noise[row, trial]),
                            forgetting[trial] * done,
                        )
                        told = dict(zip(ways, map(float, values), strict=True))
                        if not rungs.goes_on("a", 3**row, str(trial), told):
                            left.discard(trial)
                            break
            places = sorted(left)
            able = [i for i in places if quality[i] >= quality.max() - MARGIN]
            whole.append(len(left))
            kept.append(int(quality.argmax()) in left)
            near.append(bool(able))
            if able:
                least = forgetting[quality >= quality.max() - MARGIN].min()
                forgets.append(forgetting[able].min() / least)
        print(f"{ties:>10} {np.mean(whole):>6.1f} {100 * np.mean(kept):>6.1f} % "
              f"{100 * np.mean(near):>6.1f} % {np.mean(forgets):>8.2f}")  # fmt: skip


def of_divergence(rng: np.random.Generator) -> None:
    """Print the share of failed trials after the first ten of forty; a third of the space fails.

    The highest third of the rates diverges, and quality is best at nine tenths of the way up to there,
    or at the very edge. Before, they were reported as failed, which samplers ignore. Shown: as bad
    trials. Now: and TPE with one objective takes a quarter of the trials for good ones, not a tenth.
    """
    ranges = ["training.learning_rate=tag(log,interval(1e-4,1e-1))", "method.lora_alpha=16.0"]
    ranges += ["method.r=tag(int,log,interval(2,64))", "search.trials=40", "tracking=none"]
    one = ["objectives={bleu:maximize}"]
    print(f"{'sampler':>8} {'objectives':>10} {'best at':>8} {'before':>8} {'shown':>8} {'now':>8}")
    cases = [("random", [], 20), ("tpe", [], 20), ("tpe", one, 20), ("nsga2", [], 20)]
    cases += [("cmaes", one, 20), ("gp", [], 3), ("gp", one, 3)]
    as_bad, quarter = samplers.as_bad, samplers.GOOD_SHARE
    ways = [(lambda trials, ways, constrained: list(trials), 0.1), (as_bad, 0.1), (as_bad, quarter)]
    for (sampler, more, runs), best in itertools.product(cases, (0.9, 1.0)):
        if sampler == "cmaes" and find_spec("cmaes") is None:
            continue
        sweep, plans = compose_sweep(["method=lora", *ranges, f"search.sampler={sampler}", *more])
        shares = []
        for shown, good in ways[: 3 if (sampler, more) == ("tpe", one) else 2]:
            samplers.as_bad, samplers.GOOD_SHARE = shown, good
            ended = [_diverged(replace(sweep, seed=run), plans[0], best) for run in range(runs)]
            shares.append(f"{100 * np.mean(ended):>6.1f} %")
        samplers.as_bad, samplers.GOOD_SHARE = as_bad, quarter
        shares += shares[-1:] * (3 - len(shares))
        print(f"{sampler:>8} {len(sweep.objectives):>10} {best:>8g} {' '.join(shares)}", flush=True)


def _diverged(sweep: SweepConfig, plan: MethodPlan, best: float) -> float:
    """Return the share of the guided trials that diverges."""
    study = MethodStudy(plan, sweep, optuna.storages.InMemoryStorage())
    ended = []
    for number in range(sweep.search.trials):
        proposal = study.ask()
        assert proposal is not None
        share = np.log10(proposal.values["training.learning_rate"] / 1e-4) / 3
        ended.append(share > 2 / 3)
        quality = 60 - 100 * (share - best * 2 / 3) ** 2
        values = {QUALITY: quality, FORGETTING: 0.02 * np.exp(4 * share)}
        measured = {} if ended[-1] else {name: score(value) for name, value in values.items()}
        status = "diverged" if ended[-1] else "complete"
        study.tell(number, record(number, measured, status=status))
    return float(np.mean(ended[10:]))


def of_stops(rng: np.random.Generator) -> None:
    """Sixty random trials, ended by search.stop=expected with its defaults, judged after each trial.

    Just risen: runs that end although the best measured quality rose by more than 5 within the last
    ten trials. Missed: runs in which the rest would have raised it by more than 5. The base scores 5.
    Even: rates from all of the range. Late: none above its middle in the first 30 trials, where the
    best is. Front alone: the rule before it looked at what has not been tried.
    """
    sweep, _ = compose_sweep(["method=lora", "tracking=none", "search.stop=expected"])
    objectives, n = sweep.objectives, sweep.search.stop_trials
    ways = list(objectives.values())
    space = {"share": Interval(0.0, 1.0)}
    print(f"{'rates':>5} {'rule':>12} {'ended':>8} {'trials':>7} {'just risen':>10} {'missed':>8}")
    state = rng.bit_generator.state
    for late, label in itertools.product((False, True), ("before", "front alone", "now")):
        rng.bit_generator.state = state
        used, risen, missed = [], [], []
        for _ in range(200):
            shares = rng.random(60)
            if late:
                shares[:30] *= 0.5
            quality, forgetting = landscape(shares, rng)
            points = np.stack([quality + rng.normal(0, ITEM, 60), forgetting], axis=1)
            told = [_told(values) for values in points.tolist()]
            tried = [{"share": share} for share in shares.tolist()]
            with tempfile.TemporaryDirectory() as folder:
                stopping = Stopping(Path(folder) / "stopped.json", "a", sweep.search, objectives)
                for end in range(n + 3, 61):
                    if label == "before":
                        over = not old_rule.grown(points[:end], ways, n, sweep.search.stop_share)
                    else:
                        seen = tried[:end] if label == "now" else tried
                        reason = stopping.expects_nothing(
                            lambda judged=told[:end]: judged,
                            lambda seen=seen: untried(space, seen),
                        )
                        over = reason is not None
                    if over:
                        break
            best = points[:end, 0].max()
            used.append(end)
            risen.append(over and best - points[: end - n, 0].max() > 5)
            missed.append(points[:, 0].max() - best > 5)
        ended = 100 * np.mean(np.array(used) < 60)
        print(f"{'late' if late else 'even':>5} {label:>12} {ended:>6.1f} % {np.mean(used):>7.1f} "
              f"{100 * np.mean(risen):>8.1f} % {100 * np.mean(missed):>6.1f} %")  # fmt: skip


def _told(values: list[float]) -> optuna.trial.FrozenTrial:
    return optuna.create_trial(values=values, user_attrs={"base": [5.0, 0.0]})


TABLES = {
    "stops": of_stops,
    "finalists": of_finalists,
    "rungs": of_rungs,
    "divergence": of_divergence,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", help=", ".join(TABLES))
    for name in parser.parse_args().tables or TABLES:
        print(f"\n{name}: {(TABLES[name].__doc__ or '').strip()}\n")
        TABLES[name](np.random.default_rng(0))


if __name__ == "__main__":
    main()
