"""One method's study: proposals from Optuna, told what the records say.

The records are the truth. Optuna's storage holds the same trials so that its dashboard can show them;
if it is lost or torn, it is made again from the records.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState

from harness.config import SweepConfig
from harness.plans import MethodPlan
from harness.records import Record
from harness.records.fingerprint import digest
from harness.search.database import open_url
from harness.search.limits import excesses
from harness.space import Choice, Dimension, value_at

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


@dataclass(frozen=True)
class Proposal:
    """The values to try as trial ``number`` of its study."""

    number: int
    values: Mapping[str, Any]


class MethodStudy:
    """Asks and tells one Optuna study. Proposals depend on the seed, the number and the history."""

    def __init__(self, plan: MethodPlan, sweep: SweepConfig, storage: Any) -> None:
        self.plan = plan
        self._sweep = sweep
        self._distributions = {key: _distribution(d) for key, d in plan.space.items()}
        self._study = optuna.create_study(
            storage=storage,
            study_name=f"{sweep.name}/{plan.method}",
            directions=list(sweep.objectives.values()),
            sampler=self._sampler(0),
            load_if_exists=True,
        )

    def recover(self, known: Mapping[str, Record]) -> list[Proposal]:
        """What an earlier driver left behind: proposed, but not told, or told and the record is lost.

        ``known`` holds the records by fingerprint. From them an empty study is filled first, in the
        order in which they were proposed.
        """
        if not self._asked():
            for record in sorted(known.values(), key=lambda record: record.trial):
                while len(self._asked()) < record.trial:
                    self.ask()  # one that left no record of its own is proposed again
                params = {
                    key: _encoded(d, value_at(record.config, key)) for key, d in self._pairs()
                }
                self.tell(self.ask(params).number, record)
        return [
            self._proposal(trial)
            for trial in self._asked()
            if not trial.state.is_finished() or trial.user_attrs.get("fingerprint") not in known
        ]

    @property
    def told(self) -> int:
        """How many trials of the budget are used up; repeated configurations are not counted."""
        return sum(t.state.is_finished() and "repeats" not in t.user_attrs for t in self._asked())

    def ask(self, params: Mapping[str, Any] | None = None) -> Proposal:
        """The next trial: with ``params`` if given, the first with the method's own values."""
        number = len(self._asked())
        if params is not None:
            self._study.enqueue_trial(dict(params))
        elif number == 0:
            self._study.enqueue_trial(self._defaults(), skip_if_exists=True)
        self._study.sampler = self._sampler(number)
        trial = self._study.ask(fixed_distributions=self._distributions)
        return Proposal(trial.number, self._decoded(trial.params))

    def tell(self, number: int, record: Record, repeats: bool = False) -> None:
        """Close trial ``number`` with what was measured; without all objectives it counts as failed."""
        frozen = self._study.get_trials(deepcopy=False)[number]
        if frozen.state.is_finished():
            return  # its record was lost and has been made again
        values = [record.value(name) for name in self._sweep.objectives]
        trial = optuna.trial.Trial(self._study, frozen._trial_id)
        trial.set_user_attr("fingerprint", record.fingerprint)
        trial.set_user_attr("status", record.status)
        if repeats:
            trial.set_user_attr("repeats", True)
        if record.status != "complete" or None in values:
            state = TrialState.PRUNED if record.status == "pruned" else TrialState.FAIL
            self._study.tell(number, state=state)
            return
        for name, excess in excesses(record, self._sweep).items():
            trial.set_constraint(name, excess)
        self._study.tell(number, values)

    def _asked(self) -> list[optuna.trial.FrozenTrial]:
        """All trials but one that was only enqueued when the driver was killed."""
        return self._study.get_trials(deepcopy=False, states=_ASKED)

    def _proposal(self, frozen: optuna.trial.FrozenTrial) -> Proposal:
        params = dict(frozen.params)
        if params.keys() != self._distributions.keys():  # the driver was killed while it asked
            self._study.sampler = self._sampler(frozen.number)
            trial = optuna.trial.Trial(self._study, frozen._trial_id)
            params = {key: trial._suggest(key, d) for key, d in self._distributions.items()}
        return Proposal(frozen.number, self._decoded(params))

    def _pairs(self) -> list[tuple[str, Dimension]]:
        return list(self.plan.space.items())

    def _defaults(self) -> dict[str, Any]:
        """The method's own values, as far as they lie in the ranges: the first trial."""
        tree = self.plan.trial({})
        own = {"method": dict(tree.method), "training": vars(tree.training)}
        own |= {"retention": vars(tree.retention)}
        own |= {"data": vars(tree.data), "model": vars(tree.model)}
        values = {key: value_at(own, key) for key, _ in self._pairs()}
        return {
            key: _encoded(dimension, values[key])
            for key, dimension in self._pairs()
            if dimension.contains(values[key])
        }

    def _decoded(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {key: _decode(self.plan.space[key], value) for key, value in params.items()}

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """Seeded by the trial's number: a resumed sweep proposes what it would have proposed."""
        seed = int(digest([self._sweep.seed, self.plan.method, number], 8), 16)
        if self._sweep.search.sampler == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        # A third of the budget at random, then the model; Optuna's 10 may be all of a small budget.
        startup = max(2, min(10, self._sweep.search.trials // 3))
        return optuna.samplers.TPESampler(
            seed=seed, multivariate=True, group=True, n_startup_trials=startup
        )


_ASKED = (TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


def open_storage(sweep: SweepConfig, folder: Any) -> Any:
    """The URL as configured, else one SQLite file in the sweep's folder; a torn one is set aside."""
    if sweep.search.storage is not None:
        return open_url(sweep.search.storage)
    path = folder / "study.db"
    try:
        storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
        storage.get_all_studies()
    except Exception:  # whatever SQLAlchemy raises for a file that is no database any more
        kept = path.with_name("study.db.unreadable")
        path.replace(kept)
        print(f"{path} is not readable; kept as {kept.name}, made again from the records")
        storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    return storage


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Choice):
        return CategoricalDistribution([_encoded(dimension, value) for value in dimension.values])
    if dimension.integer:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _encoded(dimension: Dimension, value: Any) -> Any:
    """Optuna stores scalars: a list (of modules, say) is kept as its JSON."""
    if isinstance(dimension, Choice) and isinstance(value, list | dict):
        return json.dumps(value, sort_keys=True)
    return value


def _decode(dimension: Dimension, value: Any) -> Any:
    if isinstance(dimension, Choice) and isinstance(value, str) and value not in dimension.values:
        return json.loads(value)
    return value
