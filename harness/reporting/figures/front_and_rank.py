"""Figures of the Pareto front and of rank. Each returns a Picture, or None without data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from matplotlib.axes import Axes

from harness.language import say
from harness.reporting import formatting as f
from harness.reporting.evidence.base_scores import base_measurement, base_name
from harness.reporting.evidence.candidates import CAPACITY, Candidate, CandidateSet
from harness.reporting.evidence.families import families, family
from harness.reporting.evidence.folders.run_folder import FinishedTrial, SweepRecords
from harness.reporting.evidence.ranking import ranked
from harness.reporting.figures.best_of_n import best_of_n_figure
from harness.reporting.figures.memory_figure import memory_figure
from harness.reporting.figures.style import (
    FEW,
    INK,
    QUIET,
    Look,
    Picture,
    legend_beside,
    less_is_better,
    log_axis,
    palette,
    panels,
    styled,
    svg,
    whisker_lengths,
)
from harness.reporting.figures.subspaces import subspace_figure
from harness.reporting.figures.trials import (
    cost_figure,
    curves_figure,
    learning_rate_figure,
    search_points,
)
from harness.reporting.figures.update_figures import update_figures
from harness.statistics.pareto import front


def all_figures(
    run: SweepRecords, candidates: CandidateSet, chosen: Candidate | None
) -> dict[str, Picture]:
    """Draw all figures that have data; return name → picture."""
    look = palette(run.sweep.methods)
    with styled():
        made = (
            front_figure(run, candidates, chosen, look),
            capacity_figure(run, candidates, look),
            curves_figure(candidates, look),
            best_of_n_figure(run, look),
            learning_rate_figure(run, look),
            cost_figure(candidates, look),
            memory_figure(run.footprints),
            *update_figures(candidates, look),
            subspace_figure(candidates),
        )
    return {picture.name: picture for picture in made if picture is not None}


def objective(run: SweepRecords, candidates: CandidateSet) -> str:
    return run.sweep.objectives[0][0] if run.sweep.objectives else candidates.quality


def axis_title(name: str) -> str:
    unit = f.unit(name)
    return f.title(name) + (f", {unit}" if unit else "")


def front_figure(
    run: SweepRecords, candidates: CandidateSet, chosen: Candidate | None, look: Look
) -> Picture | None:
    """Draw quality against forgetting: search trials faint, finalists with intervals, the base."""
    forgetting = candidates.forgetting
    shown = [c for c in ranked(candidates) if c.quality is not None and c.forgetting is not None]
    if forgetting is None or not shown:
        return None
    figure, (axes,) = panels(1, 10.9, 5.0 if len(shown) <= FEW else 6.4)
    tried = (
        search_points(run, objective(run, candidates), forgetting) if candidates.confirmed else []
    )
    for method in run.sweep.methods:
        own = [values for row, values in tried if row.record.method == method]
        if own:
            colour, marker = look[method]
            quality, moved = zip(*own, strict=True)
            axes.scatter(moved, quality, s=20, c=colour, marker=marker, alpha=0.25, linewidths=0)
    points = [(c.quality.value, c.forgetting.value) for c in shown if c.quality and c.forgetting]
    directions = ("maximize" if candidates.maximize else "minimize", "minimize")
    best = sorted((points[i] for i in front(points, directions)), key=lambda p: p[1])
    axes.plot(
        [p[1] for p in best], [p[0] for p in best], color=QUIET, lw=1, ls=(0, (4, 3)), zorder=1
    )
    named = set()
    for candidate in shown:
        assert candidate.quality and candidate.forgetting
        colour, marker = look[candidate.method]
        quality, moved = candidate.quality, candidate.forgetting
        axes.errorbar(
            moved.value,
            quality.value,
            xerr=whisker_lengths(moved.value, moved.low, moved.high),
            yerr=whisker_lengths(quality.value, quality.low, quality.high),
            fmt=marker,
            ms=7 if candidate.feasible else 6,
            mfc=colour if candidate.feasible else "white",
            mec=colour,
            ecolor=colour,
            elinewidth=1.2,
            zorder=3,
            label=candidate.method if candidate.method not in named else None,
        )
        named.add(candidate.method)
        if candidate is chosen:
            axes.scatter(
                moved.value, quality.value, s=230, facecolors="none", edgecolors=INK,
                linewidths=1.4, zorder=4,
            )  # fmt: skip
    base = base_measurement(run.rows, candidates.quality)
    of_base = base_name(candidates.quality)
    if base is not None:
        axes.scatter(0.0, base.value, s=60, marker="*", c=INK, zorder=3, label=of_base)
    outside = _frame(axes, shown, [values for _, values in tried], base.value if base else None)
    axes.set_xlabel(less_is_better(axis_title(forgetting)))
    axes.set_ylabel(less_is_better(f.title(candidates.quality), not candidates.maximize))
    found, labels = axes.get_legend_handles_labels()
    handles = dict(zip(labels, found, strict=True))
    order = [name for name in (*run.sweep.methods, of_base) if name in handles]
    legend_beside(figure, {name: handles[name] for name in order})
    alt = say("Quality against forgetting. ") + "; ".join(
        f"{c.label}: {f.score(c.quality.name, c.quality.value)} {f.title(c.quality.name)}, "
        f"{f.score(c.forgetting.name, c.forgetting.value)} {f.unit(c.forgetting.name)}"
        for c in shown
        if c.quality and c.forgetting
    )
    caption = say(
        "Up and to the left is better. Whiskers are 95 % intervals; the dashed line joins the Pareto "
        "front."
        if candidates.maximize
        else "Down and to the left is better. Whiskers are 95 % intervals; the dashed line joins the "
        "Pareto front."
    )
    if tried:
        caption += say(
            " Faint points are search trials, by {measured}.",
            measured=f.title(objective(run, candidates)),
        )
    if outside:
        caption += say(" {outside} of them lie outside the frame.", outside=outside)
    if chosen in shown:
        caption += say(" The ring marks the recommended one.")
    if any(not c.feasible for c in shown):
        caption += say(" Hollow points are not eligible.")
    return Picture(
        "front", say("Quality against forgetting"), svg(figure, "front", alt), alt, caption
    )


def _frame(axes: Axes, shown, tried: list[tuple[float, ...]], base: float | None) -> int:
    """Return axis limits from candidates and base, and the number of outlying trials outside."""
    moved = [e.high or e.value for c in shown if (e := c.forgetting)]
    edges = [
        v for c in shown if (e := c.quality) for v in (e.value, e.low, e.high) if v is not None
    ]
    edges += [] if base is None else [base]
    widest, low, high = max(moved), min(edges), max(edges)
    inside = [p for p in tried if p[1] <= 2 * widest and low <= p[0] <= high + (high - low) / 2]
    right = max([widest, *(p[1] for p in inside)])
    top = max([high, *(p[0] for p in inside)])
    across, up = right * 0.05 or 1e-3, (top - low) * 0.06 or abs(top) * 0.1 or 1.0
    axes.set_xlim(
        min(0.0, *(e.low or 0.0 for c in shown if (e := c.forgetting))) - across, right + across
    )
    axes.set_ylim(low - up, top + up)
    return len(tried) - len(inside)


def capacity_of(row: FinishedTrial) -> float | None:
    """Return the size of an adapter: its rank, or its number of virtual tokens."""
    known = (row.settings.get(path) for path in CAPACITY)
    return next((float(v) for v in known if isinstance(v, int | float) and v > 0), None)


def capacity_figure(run: SweepRecords, candidates: CandidateSet, look: Look) -> Picture | None:
    """Draw quality, forgetting and peak memory against rank, one panel each."""
    rows = [r for r in run.rows if r.record.status == "complete" and r.record.stage != "confirm"]
    sizes = {id(row): capacity_of(row) for row in rows}
    distinct = sorted({size for size in sizes.values() if size is not None})
    if len(distinct) < 2:
        return None
    quality, forgetting = objective(run, candidates), candidates.forgetting
    series: list[tuple[str, Callable[[FinishedTrial], float | None], bool]] = []
    if any(row.record.value(quality) is not None for row in rows):
        series.append((axis_title(quality), lambda r: r.record.value(quality), candidates.maximize))
    if forgetting and any(row.record.value(forgetting) is not None for row in rows):
        series.append((axis_title(forgetting), lambda r: r.record.value(forgetting or ""), False))
    for name, words in (
        ("peak_memory_gb", say("peak memory, GB")),
        ("train_seconds", say("training, s")),
    ):
        if any(name in row.record.own_cost for row in rows):
            series.append((words, lambda r, name=name: r.record.own_cost.get(name), False))
    series = series[:3]
    if not series:
        return None
    methods = [m for m in families(run) if _sizes_of(m, rows, sizes)]
    figure, axes_list = panels(len(series), 10.9, 3.3 + 0.2 * -(-len(methods) // 7))
    for axes, (words, value, larger) in zip(axes_list, series, strict=True):
        for method in methods:
            colour, marker = look[families(run)[method]]
            own = [r for r in rows if family(r.record) == method and sizes[id(r)] is not None]
            points = [(sizes[id(r)], v) for r in own if (v := value(r)) is not None]
            if not points:  # none of its trials has this cost
                continue
            axes.scatter(
                *zip(*points, strict=True), s=18, c=colour, marker=marker, alpha=0.35, lw=0
            )
            best: dict[float, float] = {}
            for size, v in points:
                assert size is not None
                better = max if larger else min
                best[size] = better(best.get(size, v), v)
            label = method if axes is axes_list[0] else None
            axes.plot(*zip(*sorted(best.items()), strict=True), c=colour, marker=marker, ms=5,
                      label=label)  # fmt: skip
        powers = [size for size in distinct if math.log2(size).is_integer()]
        log_axis(axes.xaxis, 2, distinct if len(distinct) <= 8 or not powers else powers)
        axes.set_xlabel(say("rank or virtual tokens"))
        axes.set_title(words)
    figure.legend(loc="outside lower center", ncols=min(len(methods), 7))
    alt = say(
        "{measured} against rank for {methods}.",
        measured=", ".join(s[0] for s in series),
        methods=", ".join(methods),
    )
    caption = say(
        "Search trials; the line joins the best at each size. Other settings vary freely."
    )
    return Picture("rank", say("Against rank"), svg(figure, "rank", alt), alt, caption)


def _sizes_of(method: str, rows: list[FinishedTrial], sizes: Mapping[int, float | None]) -> bool:
    return any(family(r.record) == method and sizes[id(r)] is not None for r in rows)
