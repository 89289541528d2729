"""Trials that ended without a result because of their values, as shown to a sampler.

The study stores them as failed and without values, so that no reader takes them for measurements. A
sampler ignores failed trials and would propose them again. It is therefore shown a completed copy
that violates a constraint and has the worst values.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

BECAUSE_OF_VALUES = ("diverged", "infeasible")  # statuses; 'failed' has other causes
NO_RESULT = "no_result"  # the name of the constraint


def as_bad(
    trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection], constrained: bool
) -> list[FrozenTrial]:
    """Replace trials without a result by bad ones. ``constrained``: the sampler supports constraints.

    Their values are the worst so far in each objective, or 0 if there are none yet.
    """
    unusable = [
        trial.state == TrialState.FAIL and trial.user_attrs.get("status") in BECAUSE_OF_VALUES
        for trial in trials
    ]
    if not any(unusable):
        return list(trials)
    measured = [trial.values for trial in trials if trial.state == TrialState.COMPLETE]
    worst = [
        (min if way == StudyDirection.MAXIMIZE else max)(column)
        for way, column in zip(directions, zip(*measured, strict=True), strict=True)
    ] if measured else [0.0] * len(directions)  # fmt: skip
    broken = {NO_RESULT: 1.0} if constrained else {}
    return [
        _changed(trial, worst, broken) if bad else trial
        for trial, bad in zip(trials, unusable, strict=True)
    ]


def with_equal_constraints(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Give every complete trial every constraint, as a Gaussian process requires.

    A constraint that was not measured is set to its boundary, neither kept nor violated.
    ``NO_RESULT`` is kept by every trial that has a result.
    """
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    names = sorted({name for trial in complete for name in trial.constraints})
    unmeasured = {name: -1.0 if name == NO_RESULT else 0.0 for name in names}
    return [
        _changed(trial, trial.values, {**unmeasured, **trial.constraints})
        if trial.state == TrialState.COMPLETE and len(trial.constraints) < len(names)
        else trial
        for trial in trials
    ]


def _changed(
    trial: FrozenTrial, values: Iterable[float], constraints: dict[str, float]
) -> FrozenTrial:
    """Copy a trial as a complete one. The original stays unchanged, as the storage shares it."""
    values = list(values)
    made = optuna.create_trial(values=values, constraints=constraints)
    changed = copy.copy(trial)
    changed.state, changed.values = TrialState.COMPLETE, values
    changed.system_attrs = {**trial.system_attrs, **made.system_attrs}
    return changed
