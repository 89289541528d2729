"""The study of one method: Optuna proposes configurations, and their records give the results.

The records are authoritative. Optuna's storage holds the same trials for its dashboard. A lost or
corrupt storage is rebuilt from the records.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from harness.compose.method_plan import MethodPlan
from harness.config import SweepConfig
from harness.config.search_space import Choice, Dimension, value_at
from harness.errors import InputError, unknown
from harness.records import Record
from harness.search.limits import excesses
from harness.search.optuna_studies.samplers import (
    SHOWN,
    UNCONSTRAINED,
    WindowedStudy,
    build_sampler,
    check_sampler,
    precomputed,
    seed_of,
)
from harness.search.optuna_studies.storage import study_name
from harness.search.untried import untried

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


@dataclass(frozen=True)
class Proposal:
    """The values for trial ``number`` of a study."""

    number: int
    values: Mapping[str, Any]


class MethodStudy:
    """Ask-and-tell interface to one Optuna study. Proposals depend on seed, number and history.

    It counts the trials itself, so that the cost of a trial does not grow with their number.
    """

    def __init__(
        self,
        plan: MethodPlan,
        sweep: SweepConfig,
        storage: Any,
        earlier: Sequence[FrozenTrial] = (),
    ) -> None:
        self.plan = plan
        self._sweep = sweep
        self._distributions = {key: distribution(d) for key, d in plan.space.items()}
        name = study_name(sweep, plan.method)
        storage = optuna.storages.get_storage(storage)  # None: in memory
        optuna.create_study(
            storage=storage,
            study_name=name,
            directions=list(sweep.objectives.values()),
            load_if_exists=True,
        )
        self._study = WindowedStudy(name, storage, build_sampler(sweep, 0))
        self._study.earlier = earlier
        self._study.limit = SHOWN.get(sweep.search.sampler)
        self._study.shown_to = sweep.search.sampler
        names = list(sweep.objectives)
        if self._study.metric_names != names:  # as dashboards show them
            self._study.set_metric_names(names)
        asked = self._asked()
        # A trial that was only enqueued before the driver was killed does not count.
        self._enqueued = len(asked) < len(self._stored())
        self._ids = [trial._trial_id for trial in asked]
        self._finished = {trial.number for trial in asked if trial.state.is_finished()}
        self._repeats = sum("repeats" in trial.user_attrs for trial in asked)
        own = self._defaults()
        self._first = [*configurations(plan, sweep.search.configs), own]
        self._precomputed = precomputed(
            sweep.search.sampler, plan.space, seed_of(sweep, plan.method), self._decoded(own)
        )

    def recover(self, known: Mapping[str, Record]) -> list[Proposal]:
        """Return the proposals of an earlier driver that have no result, or whose record is lost.

        ``known`` holds the records by fingerprint. An empty study is first filled from them, in
        order of their proposal.
        """
        if not self._ids:
            for record in sorted(known.values(), key=lambda record: record.trial):
                while len(self._ids) < record.trial and self.ask() is not None:
                    pass  # a trial without a record is proposed again
                params = {key: value_at(record.config, key) for key in self.plan.space}
                number = len(self._ids)
                self.ask(params)
                self.tell(number, record)
        return [
            self._proposal(trial)
            for trial in self._asked()
            if not trial.state.is_finished() or trial.user_attrs.get("fingerprint") not in known
        ]

    @property
    def told(self) -> int:
        """Return the number of budgeted trials with a result, without repeated configurations."""
        return len(self._finished) - self._repeats

    def judged(self) -> list[FrozenTrial]:
        """Return the complete trials that keep all limits, in order."""
        return [
            trial
            for trial in self._asked()
            if trial.state == TrialState.COMPLETE
            and "repeats" not in trial.user_attrs
            and all(excess <= 0 for excess in trial.constraints.values())
        ]

    def untried(self) -> str | None:
        """Return a setting of which a third of the range, or a choice, has not been tried; or None."""
        ended = [trial for trial in self._asked() if trial.state.is_finished()]
        return untried(self.plan.space, [self._decoded(trial.params) for trial in ended])

    def ask(self, values: Mapping[str, Any] | None = None) -> Proposal | None:
        """Start the next trial and return it; None if the sampler is exhausted, as after a whole grid.

        Its values are ``values`` if given. Otherwise the user's configurations come first, then the
        method's defaults, then the sampler's proposals.
        """
        number = len(self._ids)
        if values is None:
            values = self._given(number)
            if values is None and self._sweep.search.sampler == "grid":
                return None
        if values is not None and not self._enqueued:
            self._study.enqueue_trial(self._encoded(values))
        self._enqueued = False
        self._study.sampler = self._sampler(number)
        trial = self._study.ask(fixed_distributions=self._distributions)
        self._ids.append(trial._trial_id)
        return Proposal(trial.number, self._decoded(trial.params))

    def tell(self, number: int, record: Record, repeats: bool = False) -> None:
        """Finish trial ``number`` with its record. It fails if an objective was not measured."""
        if number in self._finished:
            return  # finished before; its lost record was made again
        values = [record.value(name) for name in self._sweep.objectives]
        trial = optuna.trial.Trial(self._study, self._ids[number])
        trial.set_user_attr("fingerprint", record.fingerprint)
        trial.set_user_attr("status", record.status)
        trial.set_user_attr("folder", f"trials/{record.method}/{record.fingerprint}")
        if record.reason is not None:
            trial.set_user_attr("reason", record.reason)
        if repeats:
            trial.set_user_attr("repeats", True)
            self._repeats += 1
        self._finished.add(number)
        known = [value for value in values if value is not None]
        if record.status != "complete" or len(known) < len(values):
            state = TrialState.PRUNED if record.status == "pruned" else TrialState.FAIL
            self._study.tell(number, state=state)
            return
        error = record.measurements[next(iter(self._sweep.objectives))].error
        if len(values) == 1 and error is not None:
            trial.set_user_attr("standard_error", error)
        trial.set_user_attr("base", [record.base_value(name) for name in self._sweep.objectives])
        if self._sweep.search.sampler not in UNCONSTRAINED:  # CMA-ES would print a warning
            for name, excess in excesses(record, self._sweep).items():
                trial.set_constraint(name, excess)
        self._study.tell(number, known)

    def _proposal(self, frozen: FrozenTrial) -> Proposal:
        params = dict(frozen.params)
        if params.keys() != self._distributions.keys():  # the driver was killed during a proposal
            self._study.sampler = self._sampler(frozen.number)
            trial = optuna.trial.Trial(self._study, frozen._trial_id)
            params = {key: trial._suggest(key, d) for key, d in self._distributions.items()}
        return Proposal(frozen.number, self._decoded(params))

    def _stored(self) -> list[FrozenTrial]:
        """Return all stored trials, including those hidden from the sampler."""
        return self._study._storage.get_all_trials(self._study._study_id, deepcopy=False)

    def _asked(self) -> list[FrozenTrial]:
        return [trial for trial in self._stored() if trial.state != TrialState.WAITING]

    def _given(self, number: int) -> Mapping[str, Any] | None:
        """Return the values of trial ``number`` that do not come from Optuna's sampler, or None."""
        name = self._sweep.search.sampler
        if name == "grid":
            return self._precomputed(number)
        if number < len(self._first):
            return self._first[number]
        return self._precomputed(number - len(self._first)) if name == "qmc" else None

    def _defaults(self) -> dict[str, Any]:
        """Return the method's default values inside the search ranges, for the first trial."""
        tree = self.plan.trial({})
        own = {"method": dict(tree.method), "training": vars(tree.training)}
        own |= {"retention": vars(tree.retention)}
        own |= {"data": vars(tree.data), "model": vars(tree.model)}
        values = {key: value_at(own, key) for key in self.plan.space}
        return {key: v for key, v in values.items() if self.plan.space[key].contains(v)}

    def _encoded(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {key: encoded(self.plan.space[key], value) for key, value in values.items()}

    def _decoded(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {key: _decode(self.plan.space[key], value) for key, value in params.items()}

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        return build_sampler(self._sweep, seed_of(self._sweep, self.plan.method, number))


def distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Choice):
        return CategoricalDistribution([encoded(dimension, value) for value in dimension.values])
    if dimension.integer:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def encoded(dimension: Dimension, value: Any) -> Any:
    """Encode a value for Optuna, which stores scalars: lists, for example of modules, become JSON."""
    if isinstance(dimension, Choice) and isinstance(value, list | dict):
        return json.dumps(value, sort_keys=True)
    return value


def _decode(dimension: Dimension, value: Any) -> Any:
    if isinstance(dimension, Choice) and isinstance(value, str) and value not in dimension.values:
        return json.loads(value)
    return value


def configurations(plan: MethodPlan, named: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the ``search.configs`` entries for this method; the sampler fills in missing keys.

    Raises InputError for a value outside its range.
    """
    found = []
    for config in named:
        mine = {key: value for key, value in config.items() if key in plan.space}
        for key, value in mine.items():
            if not plan.space[key].contains(value):
                raise InputError(
                    f"search.configs: {key}={value!r} does not lie in {plan.space[key]}, which is "
                    f"searched for {plan.method}."
                )
        if mine:
            found.append(mine)
    return found


def check_search(sweep: SweepConfig, plans: Sequence[MethodPlan]) -> None:
    """Check the sampler and ``search.configs`` against the methods. Raises InputError."""
    check_sampler(sweep, plans)
    known = {key for plan in plans for key in plan.space}
    for config in sweep.search.configs:
        for key in config:
            if key not in known:
                raise unknown("key in search.configs", key, known)
    for plan in plans:
        configurations(plan, sweep.search.configs)
