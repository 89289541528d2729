"""Forgetting of each method's search trials at equal quality: evidence of the search, not confirmed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.reporting.evidence.folders.run_folder import FinishedTrial, SweepRecords, read_items
from harness.statistics.comparing.margins import margin_of
from harness.statistics.comparing.replicates import from_scale, is_logarithmic, to_scale
from harness.statistics.matched_quality import AtQuality, at_quality
from harness.statistics.measurements.names import FORGETTING
from harness.statistics.resampling import RESAMPLES, bootstrap_scores, draw_counts
from harness.statistics.scores import Array, can_aggregate


@dataclass(frozen=True)
class MatchedQuality:
    """Forgetting by method at one or a few levels of quality on validation."""

    quality: str  # measurement
    forgetting: str
    levels: tuple[float, ...]  # in the measurement's unit; the first is one that all methods reach
    by_method: dict[str, tuple[AtQuality, ...]]  # in the order of the levels
    trials: dict[str, int]


def matched_quality(run: SweepRecords) -> MatchedQuality | None:
    """Compare methods at the best quality that all reach, at that of the median method and of the best.

    A level is lower than that by the margin that counts as equally good, so that it does not hang on
    one lucky trial. None with fewer than two methods, without both objectives, or if no level is
    better than the untouched base.
    """
    quality = next((n for n, _ in run.sweep.objectives if not n.startswith(FORGETTING)), None)
    forgetting = next((n for n, _ in run.sweep.objectives if n.startswith(FORGETTING)), None)
    if quality is None or forgetting is None:
        return None
    sign = 1.0 if dict(run.sweep.objectives)[quality] == "maximize" else -1.0
    names = (quality, forgetting)
    own = {m: _trials(run, m, names) for m in run.sweep.methods}
    own = {method: rows for method, rows in own.items() if rows}
    if len(own) < 2:
        return None

    def scaled(values: Array) -> Array:
        return sign * to_scale(quality, values)

    points = {m: np.array([[row.record.value(n) for n in names] for row in rows])
              for m, rows in own.items()}  # fmt: skip
    best = sorted(float(scaled(each[:, 0]).max()) for each in points.values())
    margin = margin_of(quality, best[-1], run.sweep.confirm.get("margin"))
    tops = (best[0], best[len(best) // 2], best[-1])
    base = [v for rows in own.values() for r in rows if (v := r.record.base_value(quality))]
    floor = float(scaled(np.array(base)).max()) if base else -np.inf
    levels = [level for level in dict.fromkeys(top - margin for top in tops) if level > floor]
    if not levels:
        return None
    resampled = _resampled(own, names)
    found = {}
    for method, each in points.items():
        drawn = resampled.get(method)
        drawn = None if drawn is None else (scaled(drawn[0]), drawn[1])
        trials = scaled(each[:, 0]), each[:, 1]
        found[method] = tuple(at_quality(*trials, level, drawn) for level in levels)
    shown = tuple(from_scale(quality, sign * level) for level in levels)
    return MatchedQuality(*names, shown, found, {m: len(rows) for m, rows in own.items()})


def _trials(run: SweepRecords, method: str, names: Sequence[str]) -> list[FinishedTrial]:
    return [
        row
        for row in run.rows
        if (row.record.method, row.record.status) == (method, "complete")
        and row.record.stage != "confirm"
        and all(
            (value := row.record.value(name)) is not None
            and (value > 0 or not is_logarithmic(name))
            for name in names
        )
    ]


def _resampled(
    own: dict[str, list[FinishedTrial]], names: tuple[str, str]
) -> dict[str, tuple[Array, Array]]:
    """Return (B, n) resampled scores of both measurements by method; {} if items are not alike.

    All trials answered the same validation items and read the same texts, so all are resampled alike.
    """
    items = {m: [read_items(row.folder, names) for row in rows] for m, rows in own.items()}
    scores: dict[str, list[Array]] = {method: [] for method in own}
    for name in names:
        shapes = {each[name].shape if name in each else () for of in items.values() for each in of}
        first = next(iter(items.values()))[0]
        if len(shapes) > 1 or name not in first or not can_aggregate(name, first[name]):
            return {}
        counts = draw_counts(len(first[name]), RESAMPLES, np.random.default_rng(0))
        for method, of in items.items():
            drawn = [bootstrap_scores(name, each[name], counts) for each in of]
            scores[method].append(np.stack(drawn, axis=1))
    return {method: (pair[0], pair[1]) for method, pair in scores.items()}
