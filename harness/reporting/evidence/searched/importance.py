"""Importance of settings for the outcome of a search: fANOVA and PED-ANOVA, with their spread."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.statistics.rank_correlation import mean_ranks
from harness.statistics.scores import Array

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

FEWEST = (
    40  # trials from which on both find the most important of four settings in 90 % of searches
)
RESAMPLES = 5
TREES, DEPTH = 8, 5  # of a forest; the time of a deeper one grows with the square of the trials
TOP = 1 / 3  # share of the trials that count as good in PED-ANOVA
FEW = (
    8  # different numbers, up to which PED-ANOVA sees names; an estimated density would favour them
)


@dataclass(frozen=True)
class Share:
    """Importance between 0 and 1: mean and range of its values over resampled trials."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Importance:
    """Importance of one setting by both estimators; all settings of a search sum to 1."""

    key: str
    variance: Share  # fANOVA: share of the variance of the trials' ranks
    top: Share  # PED-ANOVA: how much the setting tells the best trials from all


def importances(
    settings: Mapping[str, Sequence[Any]],
    outcome: Sequence[float],
    resamples: int = RESAMPLES,
) -> list[Importance]:
    """Return the importance of settings (m values each) for m outcomes, the strongest first.

    fANOVA is the share of variance that a random forest attributes to a setting alone (Hutter et al.
    2014). PED-ANOVA is the Pearson divergence between the values of the best third of the trials and
    those of all (Watanabe et al. 2023, arXiv:2304.10255). Both see ranks: of the outcomes, because one
    diverged trial would be most of a variance, and of the values of a number, because a learning rate
    has no natural scale. Each is the mean over trials drawn with replacement, each with another seed
    of the forest; the spread is the range of these values. Settings with one value are left out;
    without two settings there is nothing to compare, and the result is empty.
    """
    varied = {key: _codes(values) for key, values in settings.items() if len(set(values)) > 1}
    ranks = mean_ranks(np.asarray(outcome, float))
    if len(varied) < 2 or np.ptp(ranks) == 0:
        return []
    rng = np.random.default_rng(0)
    drawn = [rng.integers(0, len(ranks), len(ranks)) for _ in range(resamples)]
    found = np.array([_both(varied, ranks, rows, seed) for seed, rows in enumerate(drawn)])
    made = [
        Importance(key, _share(found[:, 0, i]), _share(found[:, 1, i]))
        for i, key in enumerate(varied)
    ]
    return sorted(made, key=lambda one: -one.variance.value)


def _share(values: Array) -> Share:
    return Share(float(values.mean()), float(values.min()), float(values.max()))


@dataclass(frozen=True)
class _Codes:
    """Values of a setting as integers from 0: the order of numbers, or the place among names."""

    values: NDArray[np.intp]
    ordered: bool

    @property
    def many(self) -> bool:
        return self.ordered and int(self.values.max()) >= FEW


def _codes(values: Sequence[Any]) -> _Codes:
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    different = sorted(set(values), key=None if numbers else str)
    places = {value: at for at, value in enumerate(different)}
    return _Codes(np.array([places[value] for value in values]), numbers)


def _both(
    settings: Mapping[str, _Codes], ranks: Array, rows: NDArray[np.intp], seed: int
) -> list[list[float]]:
    """Return [fANOVA, PED-ANOVA] of all settings, each summing to 1, on these rows of the trials."""
    from optuna import importance  # takes half a second

    forest = importance.FanovaImportanceEvaluator(n_trees=TREES, max_depth=DEPTH, seed=seed)
    top = importance.PedAnovaImportanceEvaluator(target_quantile=TOP)
    ordered = {key for key, codes in settings.items() if codes.ordered}
    many = {key for key, codes in settings.items() if codes.many}
    found = []
    for estimator, as_numbers in ((forest, ordered), (top, many)):
        study = _study(settings, as_numbers, ranks, rows)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on few distinct values
            shares = importance.get_param_importances(
                study, evaluator=estimator, params=list(settings)
            )
        found.append([float(shares[key]) for key in settings])
    return found


def _study(
    settings: Mapping[str, _Codes], as_numbers: Set[str], ranks: Array, rows: NDArray[np.intp]
) -> Study:
    """Return a study of these rows, which storage would copy; settings not ``as_numbers`` are names."""
    import optuna
    from optuna.distributions import CategoricalDistribution, IntDistribution

    optuna.logging.set_verbosity(optuna.logging.WARNING)

    class Listed(optuna.Study):
        def get_trials(self, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
            return trials

    spaces, columns = {}, {}
    for key, codes in settings.items():
        last = int(codes.values.max())
        if key in as_numbers:
            spaces[key] = IntDistribution(0, last)
            columns[key] = codes.values.tolist()
        else:
            spaces[key] = CategoricalDistribution([str(code) for code in range(last + 1)])
            columns[key] = [str(code) for code in codes.values]
    trials = [
        optuna.trial.FrozenTrial(
            number=number,
            trial_id=number,
            state=optuna.trial.TrialState.COMPLETE,
            value=float(ranks[row]),
            datetime_start=None,
            datetime_complete=None,
            params={key: columns[key][row] for key in spaces},
            distributions=spaces,
            user_attrs={},
            system_attrs={},
            intermediate_values={},
        )
        for number, row in enumerate(rows.tolist())
    ]
    storage = optuna.storages.InMemoryStorage()
    storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "search")
    return Listed("search", storage)
