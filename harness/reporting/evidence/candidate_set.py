"""Candidates of a sweep, with the measurements that decide between them.

Finalists where there was a confirm stage: one candidate per configuration, its seeds together.
Otherwise the best search trials.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from harness.language import say
from harness.reporting.evidence.candidates import (
    ALWAYS_SHOWN,
    LARGE_FORGETTING,
    Candidate,
    CandidateSet,
)
from harness.reporting.evidence.comparable import comparable
from harness.reporting.evidence.estimates import Estimate, estimate, shared_items, with_intervals
from harness.reporting.evidence.folders.run_folder import (
    FinishedTrial,
    SweepRecords,
    SweepSettings,
    derived,
    settings_of,
)
from harness.reporting.evidence.problems import problems
from harness.reporting.formatting import settings
from harness.statistics.comparing.margins import INSTEAD_OF_BLIND, is_blind
from harness.statistics.measurements.names import (
    FORGETTING,
    FORGETTING_KL,
    FORGETTING_NLL,
    TEST,
    VALIDATION,
    VALIDATION_BLEU,
)
from harness.statistics.pareto import front

MOST_FALLBACK = 12  # largest number of candidates from the search stage, if none was confirmed


def candidate_set(run: SweepRecords) -> CandidateSet:
    """Return the candidates of a sweep, with the measurements that decide between them."""
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
        members=tuple(candidates),
        quality=quality,
        maximize=objective[1] == "maximize",
        forgetting=forgetting,
        confirmed=confirmed,
        remarks=tuple(dict.fromkeys(remarks)),
        margin=sweep.confirm.get("margin"),
        seed=sweep.seed,
        large_forgetting=_large_forgetting(sweep),
        looks=_looks(run, confirm),
    )
    return _seeing(found)


def _large_forgetting(sweep: SweepSettings) -> float | None:
    """Return the configured limit of the headline; the default for sweeps that name none."""
    given = sweep.report.get("large_forgetting", LARGE_FORGETTING)
    return given if given is None or isinstance(given, int | float) else LARGE_FORGETTING


def _looks(run: SweepRecords, confirm: Sequence[FinishedTrial]) -> int:
    """Return the number of looks at the race, this one included if seeds were added since the last."""
    race = run.race
    if not race.rounds:
        return 0
    counted = sum(race.looked[-1].seeds.values()) if race.looked else 0
    return race.looks + (len(confirm) > counted)


def _with_intervals(
    candidates: Sequence[Candidate], quality: str, forgetting: str | None
) -> list[Candidate]:
    """Add intervals to all estimates, with the seed variance pooled over all candidates."""
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


def _seeing(candidates: CandidateSet) -> CandidateSet:
    """Replace a quality that separates no candidates by the likelihood of the same texts."""
    able = [c for c in candidates.members if c.feasible]
    values = [c.quality.value for c in able if c.quality is not None]
    values += [c.base[candidates.quality].value for c in able if candidates.quality in c.base]
    if not values or not is_blind(candidates.quality, values):
        return candidates
    split = candidates.quality.split(".")[0]
    for name in (f"{split}.{kind}" for kind in INSTEAD_OF_BLIND):
        if name != candidates.quality and all(name in c.estimates for c in able):
            return replace(
                candidates,
                members=tuple(
                    replace(c, quality=c.estimates.get(name)) for c in candidates.members
                ),
                quality=name,
                maximize=False,
                margin=None,
                blind=candidates.quality,
            )
    return replace(candidates, blind=candidates.quality)


def quality_measurement(objective: str, complete: list[FinishedTrial]) -> str:
    """Return test.X for the objective validation.X if every finalist has it, else the objective."""
    test = objective.replace(VALIDATION, TEST, 1)
    measured = [test in row.record.measurements for row in complete]
    return test if measured and all(measured) else objective


def _forgetting_measurement(sweep: SweepSettings, complete: list[FinishedTrial]) -> str | None:
    asked = [name for name, _ in sweep.objectives[1:] if name.startswith(FORGETTING)]
    for name in (*asked, FORGETTING_KL, FORGETTING_NLL):
        if any(name in row.record.measurements for row in complete):
            return name
    return None


def distinguishing(rows: Iterable[FinishedTrial]) -> list[str]:
    """Return the config paths that differ between trials of a method, and those always shown."""
    seen: dict[str, set[str]] = {}
    always: dict[str, Any] = dict.fromkeys(ALWAYS_SHOWN)
    for row in rows:
        always.update(derived(row.record))
        for path, value in row.settings.items():
            if path.startswith(("method.", "training.", "retention.")) and path != "method.name":
                seen.setdefault(path, set()).add(str(value))
    first = [path for path in always if path in seen]
    return first + [p for p, values in seen.items() if len(values) > 1 and p not in first]


def _best_of_search(groups, quality: str, direction: str, forgetting: str | None):
    """Return each method's best search trial and the trials on the front, for an unconfirmed sweep."""
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
                say(
                    "{method}: {name} recomputed from its examples is {value:.6g}, the record says "
                    "{mean:.6g}. The recomputed value is shown.",
                    method=method,
                    name=name,
                    value=made.value,
                    mean=mean,
                )
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
        problems=problems(sweep, group, cost, estimates.get(forgetting or "")),
    )


PEAKS = ("peak_memory_gb", "evaluation_peak_memory_gb")  # the largest of all seeds counts


def _dropped(candidate: Candidate, dropped: Mapping[str, str]) -> Candidate:
    """Return the candidate with the reason why the race for seeds dropped it, if it did."""
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


def _with_unique_labels(candidates: list[Candidate]) -> list[Candidate]:
    labels = [c.label for c in candidates]
    return [
        replace(c, label=f"{c.label} ({c.configuration[:6]})") if labels.count(c.label) > 1 else c
        for c in candidates
    ]
