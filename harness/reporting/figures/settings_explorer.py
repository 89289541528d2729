"""Values of the interactive chart of settings: every search trial of every method that varied some."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from harness.reporting.evidence.candidates import CAPACITY
from harness.reporting.evidence.folders.run_folder import FinishedTrial, SweepRecords
from harness.reporting.evidence.searched.settings import Searched, final_score, searched
from harness.reporting.figures.explorer import axis_of
from harness.reporting.figures.style import Look, on_dark

RATE = "training.learning_rate"
FEW = 8  # different numbers, up to which each has a tick
WIDE = 8.0  # ratio of the largest to the smallest value, from which an axis is logarithmic


def settings_explorer(run: SweepRecords, look: Look) -> dict[str, Any] | None:
    """Return objectives, and by method its settings and trials; None if no method varied a setting.

    A trial has a status, a value of each setting, and of each objective its score. A score that is
    missing is null: that of a trial which is not complete, or was not measured.
    """
    objectives = [name for name, _ in run.sweep.objectives[:2]]
    methods = []
    for method in run.sweep.methods:
        own = searched(run, method)
        paths = [path for path in own.settings if len(set(map(str, own.settings[path]))) > 1]
        scored = [[final_score(row.record, name) for name in objectives] for row in own.rows]
        if not paths or not any(score is not None for scores in scored for score in scores):
            continue
        trials = [
            {
                "n": row.record.trial,
                "status": row.record.status,
                "settings": [_plain(row.settings.get(path)) for path in paths],
                "scores": [_finite(score) for score in scores],
            }
            for row, scores in zip(own.rows, scored, strict=True)
        ]
        methods.append(
            {
                "name": method,
                "light": look[method][0],
                "dark": on_dark(look[method][0]),
                "settings": [_setting(path, own) for path in paths],
                "plane": _plane(paths),
                "trials": trials,
            }
        )
    if not methods:
        return None
    return {
        "objectives": [{"key": name, **axis_of(name)} for name in objectives],
        "methods": methods,
    }


def _setting(path: str, own: Searched) -> dict[str, Any]:
    values = own.settings[path]
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    wide = numbers and min(values) > 0 and max(values) >= WIDE * min(values)
    spaces = (_space(row, path) for row in own.with_outcome)
    return {
        "key": path,
        "title": path.rsplit(".", 1)[-1],
        "number": numbers,
        "ticks": sorted(set(values)) if numbers and len(set(values)) <= FEW else None,
        "log": numbers and min(values) > 0 and (wide or any("log" in space for space in spaces)),
    }


def _space(row: FinishedTrial, path: str) -> str:
    spaces = row.record.provenance.get("search_space")
    return str(spaces.get(path, "")) if isinstance(spaces, dict) else ""


def _plane(paths: Sequence[str]) -> list[int] | None:
    """Return the places of rank and learning rate among the settings; None unless both vary."""
    rank = next((paths.index(path) for path in CAPACITY if path in paths), None)
    return None if rank is None or RATE not in paths else [rank, paths.index(RATE)]


def _plain(value: Any) -> Any:
    """Return a number as it is, and anything else as its text; None stays missing."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _finite(score: float | None) -> float | None:
    return score if score is not None and math.isfinite(score) else None
