"""Trials that ended without a result because of their values, as a sampler is to see them.

The study stores them as failed, without values: they are no measurements, and nothing that reads the
study takes them for any. But a sampler ignores what failed and proposes it again. So it alone is
shown a copy that has ended, breaks a constraint and is as bad as the worst.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

BECAUSE_OF_VALUES = ("diverged", "infeasible")  # statuses; 'failed' says nothing of the values
NO_RESULT = "no_result"  # the name of the constraint


def as_bad(
    trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection], constrained: bool
) -> list[FrozenTrial]:
    """Replace trials without a result by bad ones: ``constrained`` if the sampler knows constraints.

    Their values are the worst in each objective that was measured so far, or 0 before that.
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
    """Give every complete trial every constraint; one that was not measured is neither kept nor broken.

    A Gaussian process models each constraint, and needs it of all trials. ``NO_RESULT`` is kept by
    every trial that has one.
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
    """Copy a trial as a complete one; the storage's own is shared by its readers."""
    values = list(values)
    made = optuna.create_trial(values=values, constraints=constraints)
    changed = copy.copy(trial)
    changed.state, changed.values = TrialState.COMPLETE, values
    changed.system_attrs = {**trial.system_attrs, **made.system_attrs}
    return changed
