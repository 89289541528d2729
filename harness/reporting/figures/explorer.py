"""Values of the interactive front: every finalist and search trial, on axes that a reader chooses."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.language import counted, phrase, say
from harness.reporting import formatting as f
from harness.reporting.evidence.base_scores import base_measurement, base_name
from harness.reporting.evidence.candidates import CAPACITY, Candidate, CandidateSet
from harness.reporting.evidence.estimates import Estimate
from harness.reporting.evidence.folders.run_folder import FinishedTrial, SweepRecords
from harness.reporting.evidence.ranking import ranked, second_measurements
from harness.reporting.figures.style import SHAPES, Look, on_dark
from harness.reporting.verdict.contest import tie_letters
from harness.statistics.measurements.definitions import METRIC_DEFINITIONS, kind_of
from harness.statistics.measurements.names import FORGETTING_TASKS

COSTS = (
    ("train_seconds", phrase("training, s"), "less"),
    ("peak_memory_gb", phrase("peak memory, GB"), "less"),
    ("trainable_parameters", phrase("trainable parameters"), "less"),
)
RATE, SIZE = "learning_rate", "capacity"
LOGARITHMIC = ("trainable_parameters", RATE)


def explorer(
    run: SweepRecords,
    candidates: CandidateSet,
    chosen: Candidate | None,
    look: Look,
    objective: str,
) -> dict[str, Any] | None:
    """Return axes, points and colours for the page's script; None without two axes to choose from.

    Finalists have intervals. Search trials have none, and their quality is that of the validation
    split. A value that is missing is left out, and its point with it.
    """
    order = [c for c in ranked(candidates) if c.quality is not None]
    if candidates.forgetting is None or not any(c.forgetting for c in order):
        return None
    names = [candidates.quality, candidates.forgetting, *second_measurements(candidates)]
    if any(FORGETTING_TASKS in c.estimates for c in order):
        names.append(FORGETTING_TASKS)
    axes = [{"key": name, **axis_of(name)} for name in names]
    axes += [{"key": key, "title": say(title), "better": better} for key, title, better in COSTS]
    axes += [
        {"key": RATE, "title": say("learning rate"), "better": ""},
        {"key": SIZE, "title": say("rank or virtual tokens"), "better": ""},
    ]
    letters = tie_letters(candidates.members, candidates)
    best = set(letters.get(order[0].label, ""))
    points: list[dict[str, Any]] = []
    for candidate in order:
        point = _finalist(candidate, names, candidate is chosen)
        point["leading"] = bool(best & set(letters.get(candidate.label, "")))
        points.append(point)
    if candidates.confirmed:
        points += [
            _search_trial(row, names, candidates.quality, objective)
            for row in run.rows
            if row.record.stage != "confirm" and row.record.status == "complete"
        ]
    base = _base(run, names, candidates.forgetting)
    points += [base] if base else []
    known = [
        {**axis, "log": axis["key"] in LOGARITHMIC}
        for axis in axes
        if sum(axis["key"] in p["values"] for p in points) > 1
    ]
    methods = [m for m in run.sweep.methods if any(p["method"] == m for p in points)]
    return {
        "axes": known,
        "x": candidates.forgetting,
        "y": candidates.quality,
        "points": points,
        "methods": [
            {
                "name": method,
                "light": look[method][0],
                "dark": on_dark(look[method][0]),
                "shape": SHAPES[look[method][1]],
            }
            for method in methods
        ],
    }


def axis_of(name: str) -> dict[str, str]:
    """Return title and better side of a measurement's axis."""
    unit, direction = f.unit(name), METRIC_DEFINITIONS[kind_of(name)].direction
    title = f.title(name) + (f", {unit}" if unit else "")
    return {"title": title, "better": "more" if direction == "maximize" else "less"}


def _finalist(candidate: Candidate, names: Sequence[str], chosen: bool) -> dict[str, Any]:
    found = {n: candidate.estimates.get(n) for n in names}
    values = {name: _interval(e) for name, e in found.items() if e is not None}
    values |= _single(candidate.cost.get, candidate.settings)
    stage = "chosen" if chosen else "finalist" if candidate.feasible else "not eligible"
    return {
        "label": candidate.label,
        "method": candidate.method,
        "stage": stage,
        "of": counted(len(candidate.rows), "{n} seed", "{n} seeds"),
        "values": values,
    }


def _search_trial(
    row: FinishedTrial, names: Sequence[str], quality: str, objective: str
) -> dict[str, Any]:
    record, values = row.record, {}
    for name in names:
        measured = record.value(objective if name == quality else name)
        if measured is not None and math.isfinite(measured):
            values[name] = [measured]
    values |= _single(record.own_cost.get, row.settings)
    return {
        "label": say("{method} trial {trial}", method=record.method, trial=record.trial),
        "method": record.method,
        "stage": "search",
        "of": say("one seed, validation split"),
        "values": values,
    }


def _base(run: SweepRecords, names: Sequence[str], forgetting: str) -> dict[str, Any] | None:
    """Return the untouched base, which has forgotten nothing by definition."""
    measured = {name: base_measurement(run.rows, name) for name in names}
    values = {name: [m.value] for name, m in measured.items() if m is not None}
    if not values:
        return None
    values[forgetting] = [0.0]
    return {
        "label": base_name(names[0]),
        "method": "",
        "stage": "base",
        "of": say("not tuned"),
        "values": values,
    }


def _interval(estimate: Estimate) -> list[float]:
    low, high = estimate.low, estimate.high
    if low is None or high is None:
        return [estimate.value]
    return [estimate.value, low, high]


def _single(
    cost: Callable[[str], float | None], settings: Mapping[str, Any]
) -> dict[str, list[float]]:
    values = {key: cost(key) for key, _, _ in COSTS}
    values[RATE] = settings.get("training.learning_rate")
    sizes = (settings.get(path) for path in CAPACITY)
    values[SIZE] = next((size for size in sizes if isinstance(size, int | float)), None)
    return {key: [float(value)] for key, value in values.items() if value is not None}
