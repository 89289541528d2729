"""The configurations a recommendation chooses among, each with its estimates and cost.

Finalists where there was a confirm stage: one candidate per configuration, its seeds together.
Otherwise the best search trials.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from harness.records import Measurement
from harness.reporting.evidence.comparable import comparable, same_way
from harness.reporting.evidence.estimates import (
    Estimate,
    estimate,
    of_base,
    shared_items,
    with_intervals,
)
from harness.reporting.evidence.run_folder import (
    FinishedTrial,
    Run,
    Sweep,
    derived,
    read_base_items,
    settings_of,
)
from harness.reporting.formatting import gigabytes, score, settings
from harness.statistics.comparing.margins import INSTEAD_OF_BLIND, is_blind
from harness.statistics.comparing.replicates import Replicates
from harness.statistics.measurements.names import (
    FORGETTING,
    FORGETTING_KL,
    FORGETTING_NLL,
    TEST,
    VALIDATION,
    VALIDATION_BLEU,
)
from harness.statistics.pareto import front
from harness.statistics.scores import Array

CAPACITY = ("method.r", "method.target_r", "method.num_virtual_tokens", "method.rank")
ALWAYS_SHOWN = (*CAPACITY, "training.learning_rate")
MOST_FALLBACK = 12  # candidates from the search stage, where nothing was confirmed


@dataclass(frozen=True)
class Candidate:
    """One configuration that may be recommended."""

    label: str
    method: str
    configuration: str
    settings: Mapping[str, Any]  # what tells it from others of its method
    rows: tuple[FinishedTrial, ...]  # its complete trials, one a seed
    other_rows: tuple[FinishedTrial, ...]  # its trials that did not complete
    quality: Estimate | None
    forgetting: Estimate | None
    estimates: Mapping[str, Estimate]  # every measurement with a value
    items: Mapping[str, Array]  # measurement -> (seeds, n, k), where every seed has them
    cost: Mapping[str, float]  # mean over seeds; peak memory: the largest
    base: Mapping[str, Measurement]
    problems: tuple[str, ...]  # why it cannot be chosen; empty if it can
    dropped: bool = False  # one of them: its seeds showed in an earlier round that it cannot win

    @property
    def feasible(self) -> bool:
        return not self.problems and self.quality is not None

    @property
    def on_cpu(self) -> bool:
        """True if any of its trials ran on CPU: memory is then that of the whole process."""
        return any(
            str(row.record.provenance.get("device", "")).startswith("cpu") for row in self.rows
        )

    @cached_property
    def base_replicates(self) -> Replicates | None:
        """The untouched base in quality; None where it was not measured, or in another way."""
        if self.quality is None or self.quality.name not in self.base:
            return None
        name, base = self.quality.name, self.base[self.quality.name]
        measured = (row.record.measurements.get(name) for row in self.rows)
        if not all(one is None or same_way(one, base) for one in measured):
            return None
        return of_base(base, name, read_base_items(self.rows[0].folder).get(name))


@dataclass(frozen=True)
class CandidateSet:
    """All candidates and what they are measured by."""

    candidates: tuple[Candidate, ...]
    quality: str  # measurement, such as test.bleu
    maximize: bool
    forgetting: str | None
    confirmed: bool
    remarks: tuple[str, ...]
    margin: float | None = None  # in quality, as the user stated it; None: by the metric
    seed: int = 0  # of the sweep: of what is drawn in judging
    blind: str | None = None  # the measurement that was asked for and tells nobody apart
    looks: int = 0  # at rounds of confirm seeds, this one included; 0: all seeds ran at once


def candidate_set(run: Run) -> CandidateSet:
    """The candidates of a run and the measurements that decide between them."""
    sweep = run.sweep
    confirm = [row for row in run.rows if row.record.stage == "confirm"]
    confirmed = any(row.record.status == "complete" for row in confirm)
    objective = sweep.objectives[0] if sweep.objectives else (VALIDATION_BLEU, "maximize")
    rows = confirm if confirmed else [r for r in run.rows if r.record.stage != "confirm"]
    complete = [row for row in rows if row.record.status == "complete"]
    quality = quality_measurement(objective[0], complete) if confirmed else objective[0]
    forgetting = _forgetting_measurement(sweep, complete)
    rows, remarks = comparable(rows)
    groups: dict[tuple[str, str], list[FinishedTrial]] = {}
    for row in rows:
        key = row.record.configuration or row.record.fingerprint
        groups.setdefault((row.record.method, key), []).append(row)
    if not confirmed:
        groups = _best_of_search(groups, quality, objective[1], forgetting)
    shown = {
        m: distinguishing([r for r in run.rows if r.record.method == m]) for m in sweep.methods
    }
    candidates = [
        _dropped(
            _candidate(
                sweep, method, configuration, group, shown[method], quality, forgetting, remarks
            ),
            run.race.dropped,
        )
        for (method, configuration), group in groups.items()
    ]
    candidates = _with_intervals(_with_unique_labels(candidates), quality, forgetting)
    found = CandidateSet(
        candidates=tuple(candidates),
        quality=quality,
        maximize=objective[1] == "maximize",
        forgetting=forgetting,
        confirmed=confirmed,
        remarks=tuple(dict.fromkeys(remarks)),
        margin=sweep.confirm.get("margin"),
        seed=sweep.seed,
        looks=_looks(run, confirm),
    )
    return _seeing(found)


def _looks(run: Run, confirm: Sequence[FinishedTrial]) -> int:
    """Return the number of looks, with this one where there are seeds that none of them has seen."""
    race = run.race
    if not race.rounds:
        return 0
    counted = sum(race.looked[-1].seeds.values()) if race.looked else 0
    return race.looks + (len(confirm) > counted)


def _with_intervals(
    candidates: Sequence[Candidate], quality: str, forgetting: str | None
) -> list[Candidate]:
    """Every estimate with the interval that all candidates together tell."""
    known: list[dict[str, Estimate]] = [{} for _ in candidates]
    for name in dict.fromkeys(name for c in candidates for name in c.estimates):
        having = [i for i, c in enumerate(candidates) if name in c.estimates]
        made = with_intervals([candidates[i].estimates[name] for i in having])
        for i, one in zip(having, made, strict=True):
            known[i][name] = one
    return [
        replace(c, estimates=own, quality=own.get(quality), forgetting=own.get(forgetting or ""))
        for c, own in zip(candidates, known, strict=True)
    ]


def _seeing(field: CandidateSet) -> CandidateSet:
    """Replace a quality that separates no candidates by the likelihood of the same texts."""
    able = [c for c in field.candidates if c.feasible]
    values = [c.quality.value for c in able if c.quality is not None]
    values += [c.base[field.quality].value for c in able if field.quality in c.base]
    if not values or not is_blind(field.quality, values):
        return field
    split = field.quality.split(".")[0]
    for name in (f"{split}.{kind}" for kind in INSTEAD_OF_BLIND):
        if name != field.quality and all(name in c.estimates for c in able):
            return replace(
                field,
                candidates=tuple(
                    replace(c, quality=c.estimates.get(name)) for c in field.candidates
                ),
                quality=name,
                maximize=False,
                margin=None,
                blind=field.quality,
            )
    return replace(field, blind=field.quality)


def quality_measurement(objective: str, complete: list[FinishedTrial]) -> str:
    """test.X for the objective validation.X, where every finalist has it."""
    test = objective.replace(VALIDATION, TEST, 1)
    measured = [test in row.record.measurements for row in complete]
    return test if measured and all(measured) else objective


def _forgetting_measurement(sweep: Sweep, complete: list[FinishedTrial]) -> str | None:
    asked = [name for name, _ in sweep.objectives[1:] if name.startswith(FORGETTING)]
    for name in (*asked, FORGETTING_KL, FORGETTING_NLL):
        if any(name in row.record.measurements for row in complete):
            return name
    return None


def distinguishing(rows: Iterable[FinishedTrial]) -> list[str]:
    """Config paths that differ between trials of a method, and those that are always named."""
    seen: dict[str, set[str]] = {}
    always: dict[str, Any] = dict.fromkeys(ALWAYS_SHOWN)
    for row in rows:
        always.update(derived(row.record))
        for path, value in settings_of(row.record).items():
            if path.startswith(("method.", "training.", "retention.")) and path != "method.name":
                seen.setdefault(path, set()).add(str(value))
    first = [path for path in always if path in seen]
    return first + [p for p, values in seen.items() if len(values) > 1 and p not in first]


def _best_of_search(groups, quality: str, direction: str, forgetting: str | None):
    """Without a confirm stage: each method's best trial, and the trials on the front."""
    scored = {
        key: row.record
        for key, rows in groups.items()
        for row in rows
        if row.record.status == "complete" and row.record.value(quality) is not None
    }
    sign = 1.0 if direction == "maximize" else -1.0
    ranked = sorted(scored, key=lambda key: -sign * (scored[key].value(quality) or 0.0))
    best: dict[str, tuple[str, str]] = {}  # method -> its best trial
    for key in ranked:
        best.setdefault(key[0], key)
    chosen = list(best.values())
    both = [k for k in ranked if forgetting and scored[k].value(forgetting) is not None]
    if both:
        points = [(scored[k].value(quality), scored[k].value(forgetting)) for k in both]
        chosen += [both[i] for i in front(points, (direction, "minimize"))]
    kept = set(chosen[:MOST_FALLBACK])
    return {key: rows for key, rows in groups.items() if key in kept}


def _candidate(
    sweep, method, configuration, group, shown, quality, forgetting, remarks
) -> Candidate:
    rows = tuple(row for row in group if row.record.status == "complete")
    items = shared_items(rows)
    names = list(dict.fromkeys(n for row in rows for n in row.record.measurements))
    estimates = {}
    for name in names:
        made = estimate(name, rows, items)
        estimates[name] = made
        recorded = [row.record.value(name) for row in rows]
        mean = np.mean([value for value in recorded if value is not None])
        if not math.isclose(np.mean(made.by_seed), mean, rel_tol=1e-3, abs_tol=1e-6):
            remarks.append(
                f"{method}: {name} recomputed from its examples is {made.value:.6g}, "
                f"the record says {mean:.6g}. The recomputed value is shown."
            )
    values = settings_of((rows or tuple(group))[0].record)
    own = {path: values[path] for path in shown if path in values}
    cost = _mean_cost(rows)
    return Candidate(
        label=method + (f" {settings(own)}" if own else ""),
        method=method,
        configuration=configuration,
        settings=own,
        rows=rows,
        other_rows=tuple(row for row in group if row.record.status != "complete"),
        quality=estimates.get(quality),
        forgetting=estimates.get(forgetting) if forgetting else None,
        estimates=estimates,
        items=items,
        cost=cost,
        base=rows[0].record.base if rows else {},
        problems=_problems(sweep, group, cost, estimates.get(forgetting or "")),
    )


PEAKS = ("peak_memory_gb", "evaluation_peak_memory_gb")  # the largest of all seeds counts


def _dropped(candidate: Candidate, dropped: Mapping[str, str]) -> Candidate:
    why = dropped.get(candidate.configuration)
    if why is None:
        return candidate
    return replace(candidate, problems=(*candidate.problems, why), dropped=True)


def _mean_cost(rows: tuple[FinishedTrial, ...]) -> dict[str, float]:
    cost: dict[str, float] = {}
    for name in dict.fromkeys(n for row in rows for n in row.record.cost):
        values = [row.record.cost[name] for row in rows if row.record.cost.get(name) is not None]
        if values:
            cost[name] = float(max(values) if name in PEAKS else np.mean(values))
    return cost


def _problems(
    sweep: Sweep, group: list[FinishedTrial], cost, forgetting: Estimate | None
) -> tuple[str, ...]:
    """Broken limits, and seeds with which this configuration is not to be trusted."""
    found = []
    for row in group:
        if row.record.status in ("infeasible", "diverged"):
            reason = f": {row.record.reason}" if row.record.reason else ""
            found.append(f"{row.record.status} with seed {row.record.seed}{reason}")
    if not found and all(row.record.status != "complete" for row in group):
        reasons = sorted({row.record.reason or row.record.status for row in group})
        found.append(f"no seed completed: {'; '.join(reasons)}")
    limits = sweep.limits
    memory, parameters = cost.get("peak_memory_gb"), cost.get("trainable_parameters")
    if "peak_memory_gb" in limits and memory is not None and memory > limits["peak_memory_gb"]:
        allowed = gigabytes(limits["peak_memory_gb"])
        found.append(f"needs {gigabytes(memory)}, the limit is {allowed}")
    if (
        "trainable_parameters" in limits
        and parameters is not None
        and parameters > limits["trainable_parameters"]
    ):
        allowed = f"{limits['trainable_parameters']:,.0f}"
        found.append(f"trains {parameters:,.0f} parameters, the limit is {allowed}")
    minutes = cost["train_seconds"] / 60 if "train_seconds" in cost else None
    if "minutes" in limits and minutes is not None and minutes > limits["minutes"]:
        found.append(f"trains {minutes:.1f} minutes, the limit is {limits['minutes']:g}")
    if "forgetting" in limits and forgetting and forgetting.value > limits["forgetting"]:
        found.append(
            f"forgets {score(forgetting.name, forgetting.value)}, "
            f"the limit is {limits['forgetting']:g}"
        )
    return tuple(found)


def _with_unique_labels(candidates: list[Candidate]) -> list[Candidate]:
    labels = [c.label for c in candidates]
    return [
        replace(c, label=f"{c.label} ({c.configuration[:6]})") if labels.count(c.label) > 1 else c
        for c in candidates
    ]
