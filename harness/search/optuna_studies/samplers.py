"""Samplers that propose the next configuration (``search.sampler``), and the trials shown to them."""

from __future__ import annotations

import importlib.util
import itertools
import math
import warnings
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from harness.compose.method_plan import MethodPlan
from harness.config import SweepConfig
from harness.config.search_space import Choice, Space, at_share, points
from harness.errors import InputError
from harness.records.fingerprint import digest
from harness.search.optuna_studies.unusable import as_bad, with_equal_constraints
from harness.search.pruning.pareto_fronts import best_first

# Largest number of trials shown to a sampler whose cost grows with them. Of older trials, the best and
# an even sample of the others are kept, because TPE and a Gaussian process need both.
SHOWN = {"tpe": 1000, "gp": 200}
PRECOMPUTED = ("grid", "qmc")  # trial n depends only on n
UNCONSTRAINED = ("cmaes",)  # does not support constraints
# Share of the trials that TPE models as good ones, with one objective. Of Optuna's tenth, one to four
# trials, the density is so wide that beside an edge above which trials diverge it proposes them more
# often than random search does. docs/statistics.md has the figures of both.
GOOD_SHARE = 0.25
MOST_GOOD = 25  # as in Optuna


def build_sampler(sweep: SweepConfig, seed: int) -> optuna.samplers.BaseSampler:
    """Build the configured sampler with ``seed``.

    It is built again for each trial, so that a resumed sweep makes the same proposals.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.simplefilter("ignore", FutureWarning)  # Optuna 6 is to have no ``gamma``
        match sweep.search.sampler:
            case "gp":
                return optuna.samplers.GPSampler(seed=seed, n_startup_trials=_startup(sweep))
            case "cmaes":
                return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
            case "nsga2":
                # At most half of the budget is random: Optuna's default of 50 may exceed it.
                population = max(2, min(50, sweep.search.trials // 4))
                return optuna.samplers.NSGAIISampler(seed=seed, population_size=population)
            case "tpe":
                return optuna.samplers.TPESampler(
                    seed=seed,
                    multivariate=True,
                    group=True,
                    n_startup_trials=_startup(sweep),
                    gamma=_number_of_good if len(sweep.objectives) == 1 else None,
                )
    return optuna.samplers.RandomSampler(seed=seed)  # also for values that grid and qmc leave open


def _number_of_good(trials: int) -> int:
    return min(math.ceil(GOOD_SHARE * trials), MOST_GOOD)


def _startup(sweep: SweepConfig) -> int:
    """Return the number of random trials: a third of the budget, at most Optuna's default of 10."""
    return max(2, min(10, sweep.search.trials // 3))


def check_sampler(sweep: SweepConfig, plans: Sequence[MethodPlan]) -> None:
    """Check the sampler against spaces and objectives. Raises InputError if it cannot be used."""
    name = sweep.search.sampler
    needs = {"cmaes": ("cmaes",), "gp": ("torch", "scipy"), "qmc": ("scipy",)}
    for package in needs.get(name, ()):
        if importlib.util.find_spec(package) is None:
            raise InputError(f"search.sampler={name} needs a package: pip install {package}")
    if name == "cmaes" and len(sweep.objectives) > 1:
        raise InputError(
            f"search.sampler=cmaes searches by one objective, not by {len(sweep.objectives)} "
            f"({', '.join(sweep.objectives)}): name one (objectives={{bleu:maximize}}), or use tpe, "
            "gp or nsga2."
        )
    if sweep.search.warm_start and name not in SHOWN:
        raise InputError(
            f"search.warm_start cannot be used with search.sampler={name}, which does not learn from "
            "other trials: use tpe or gp."
        )
    for plan in plans:
        if name == "grid":
            _check_grid(plan, sweep)
        numbers = [key for key, d in plan.space.items() if not isinstance(d, Choice)]
        if name == "cmaes" and len(numbers) < 2:
            raise InputError(
                f"search.sampler=cmaes needs at least two numeric ranges, and {plan.method} has "
                f"{', '.join(numbers) or 'none'}: give it interval(...) or tag(log, interval(...)), "
                "or use tpe."
            )


def _check_grid(plan: MethodPlan, sweep: SweepConfig) -> None:
    for key, dimension in plan.space.items():
        if points(dimension) is None:
            raise InputError(
                f"search.sampler=grid cannot enumerate {key}={dimension} of {plan.method}: write "
                "choice(...) or range(...)."
            )
    size = plan.n_configurations or 1
    if size > sweep.search.trials:
        raise InputError(
            f"search.sampler=grid: {plan.method} has {size} configurations, and search.trials="
            f"{sweep.search.trials} would leave some out: set search.trials={size}."
        )
    if sweep.search.configs:
        raise InputError("search.configs cannot be used with search.sampler=grid: it tries all.")


def precomputed(
    name: str, space: Space, seed: int, first: Mapping[str, Any]
) -> Callable[[int], dict[str, Any] | None]:
    """Return a function of n that gives the n-th configuration of a grid or a Sobol sequence.

    It returns None beyond the end of the grid. A grid starts with ``first`` if that is one of its
    points; ``seed`` shuffles the others.
    """
    if name == "grid":
        values = [points(dimension) or () for dimension in space.values()]
        grid = [dict(zip(space, point, strict=True)) for point in itertools.product(*values)]
        np.random.default_rng(seed).shuffle(grid)  # pyright: ignore[reportArgumentType]
        grid.sort(key=lambda point: point != first)
        return lambda n: grid[n] if n < len(grid) else None

    def sobol(n: int) -> dict[str, Any]:
        from scipy.stats import qmc

        if not space:
            return {}
        engine = qmc.Sobol(len(space), scramble=True, rng=np.random.default_rng(seed))
        if n:
            engine.fast_forward(n)
        shares = engine.random(1)[0]
        return {key: at_share(d, s) for (key, d), s in zip(space.items(), shares, strict=True)}

    return sobol


def seed_of(sweep: SweepConfig, method: str, number: int | None = None) -> int:
    """Return the sampler's seed for one trial; without a number, for the whole study."""
    return int(digest([sweep.seed, method, number], 8), 16)


class WindowedStudy(optuna.Study):
    """A study that shows its sampler a bounded number of trials, preceded by ``earlier`` ones.

    Samplers read the history only through ``_get_trials``. Trials without a result appear as bad
    ones, see ``unusable.py``. What is shown depends only on the trials and their order, so that a
    resumed sweep shows the same.
    """

    earlier: Sequence[FrozenTrial] = ()  # from another sweep; not stored in this study
    limit: int | None = None
    shown_to: str = "tpe"  # the name of the sampler

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._kept: list[FrozenTrial] = []
        self._folded = 0  # number of trials summarized by ``_kept``

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        trials = super()._get_trials(deepcopy=deepcopy, use_cache=use_cache)
        together = [*self.earlier, *trials] if self.earlier else trials
        shown = self._shown(as_bad(together, self.directions, self.shown_to not in UNCONSTRAINED))
        if self.shown_to == "gp":
            shown = with_equal_constraints(shown)
        return shown if states is None else [trial for trial in shown if trial.state in states]

    def _shown(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        if self.limit is None:
            return trials
        half = self.limit // 2
        while len(self._kept) + len(trials) - self._folded > self.limit:
            block = trials[self._folded : self._folded + half]
            if not all(trial.state.is_finished() for trial in block):
                break
            self._kept = thinned([*self._kept, *block], half, self.directions)
            self._folded += len(block)
        return [*self._kept, *trials[self._folded :]]


def thinned(trials: Sequence[FrozenTrial], n: int, directions: Sequence[Any]) -> list[FrozenTrial]:
    """Return ``n`` of ``trials`` in order: the best are a fifth of them, the rest are evenly spread."""
    ways = [way.name.lower() for way in directions]
    judged = [
        index
        for index, trial in enumerate(trials)
        if trial.state == TrialState.COMPLETE
        and all(excess <= 0 for excess in trial.constraints.values())
    ]
    ranked = best_first([trials[index].values for index in judged], ways)
    best = {judged[place] for place in ranked[: n // 5]}
    rest = [index for index in range(len(trials)) if index not in best]
    step = len(rest) / (n - len(best))
    even = {rest[math.floor(i * step)] for i in range(n - len(best))}
    return [trials[index] for index in sorted(best | even)]
