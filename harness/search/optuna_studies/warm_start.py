"""``search.warm_start``: results of earlier sweeps, shown to the sampler before its first trial.

Only results count that this sweep could have measured itself: the same method, model, data,
training and evaluation, with values inside the current ranges. Seeds may differ. They use no budget
and cannot become finalists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from harness.compose.method_plan import MethodPlan
from harness.config import SweepConfig
from harness.config.search_space import value_at
from harness.errors import InputError
from harness.paths import user_path
from harness.records import Record, read_json, read_record, write_json
from harness.records.fingerprint import fingerprints
from harness.search.limits import excesses
from harness.search.optuna_studies.study import distribution, encoded

Rows = dict[str, list[dict[str, Any]]]  # method → its results and their configurations


def earlier_rows(
    folder: Path,
    sweep: SweepConfig,
    plans: Sequence[MethodPlan],
    models: Mapping[str, str],
    data: str,
) -> Rows:
    """Return the usable earlier results, stored in ``warm_start.json`` for a resumed sweep.

    Raises InputError if no result of an earlier sweep can be used.
    """
    if not sweep.search.warm_start:
        return {}
    kept = read_json(folder / "warm_start.json")
    if kept is not None:
        return kept
    rows: Rows = {plan.method: [] for plan in plans}
    for text in sweep.search.warm_start:
        if not user_path(text).is_dir():
            raise InputError(f"search.warm_start: there is no folder {text!r}.")
        found, why = 0, "it has no complete search trial of these methods"
        for plan in plans:
            for path in sorted(user_path(text).glob(f"trials/{plan.method}/*")):
                record = read_record(path)
                if record is None or record.stage != "search" or record.status != "complete":
                    continue
                reason = unusable(record, plan, sweep, models[plan.method], data)
                if reason is None:
                    rows[plan.method].append(_row(record, plan, sweep))
                    found += 1
                else:
                    why = f"{plan.method} trial {record.trial}: {reason}"
        if not found:
            raise InputError(
                f"search.warm_start: nothing of {text!r} can be used: {why}. Its best values can be "
                "tried first instead: search.configs=[{...}]."
            )
    write_json(folder / "warm_start.json", rows)
    return rows


def unusable(
    record: Record, plan: MethodPlan, sweep: SweepConfig, model: str, data: str
) -> str | None:
    """Return why this sweep could not have made the record; None if it could."""
    missing = [name for name in sweep.objectives if record.value(name) is None]
    if missing:
        return f"{missing[0]} was not measured"
    try:
        values = {key: value_at(record.config, key) for key in plan.space}
    except (KeyError, TypeError):
        return "it does not search the same parameters"
    for key, value in values.items():
        if not plan.space[key].contains(value):
            return f"{key}={value!r} does not lie in {plan.space[key]}"
    config = plan.trial(values, seed=record.seed, stage="search")
    if fingerprints(config, model=model, data=data).trial != record.fingerprint:
        return "its model, data, training or evaluation differs"
    return None


def as_trials(
    rows: Sequence[Mapping[str, Any]], plan: MethodPlan, sweep: SweepConfig
) -> list[FrozenTrial]:
    """Return complete trials for a sampler, in order of the rows, within the remaining space."""
    space = {key: distribution(dimension) for key, dimension in plan.space.items()}
    return [
        optuna.create_trial(
            params={key: encoded(plan.space[key], row["values"][key]) for key in space},
            distributions=space,
            values=[row["measured"][name] for name in sweep.objectives],
            constraints=dict(row["excesses"]),
        )
        for row in rows
        if all(plan.space[key].contains(row["values"][key]) for key in space)
    ]


def _row(record: Record, plan: MethodPlan, sweep: SweepConfig) -> dict[str, Any]:
    return {
        "fingerprint": record.fingerprint,
        "values": {key: value_at(record.config, key) for key in plan.space},
        "measured": {name: record.value(name) for name in sweep.objectives},
        "excesses": excesses(record, sweep),
    }
