"""Figures of the weight updates. Each returns a Picture, or None."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from harness.language import say
from harness.reporting import formatting as f
from harness.reporting.evidence.candidates import CandidateSet
from harness.reporting.evidence.folders.run_folder import FinishedTrial
from harness.reporting.evidence.ranking import ranked
from harness.reporting.evidence.updates import Finalist, looked_at_again, path_of, read_update
from harness.reporting.figures.style import (
    INK,
    QUIET,
    Look,
    Picture,
    legend_beside,
    less_is_better,
    log_axis,
    panels,
    svg,
)

MOST_MAPS = 5  # maps side by side, of the best finalists
MOST_BARS = 24  # groups of parameters
# Without the palest shades, which look like missing values.
SHADES = ListedColormap(colormaps["Blues"](np.linspace(0.15, 1, 256)))

Map = tuple[str, Mapping[tuple[int, str], float]]  # title, (layer, kind) -> value


def update_figures(candidates: CandidateSet, look: Look) -> list[Picture | None]:
    """Draw the figures of weight updates. Call within `styled()`."""
    again = looked_at_again(candidates)
    matrices = [(finalist, read_update(finalist.row)) for finalist in again]
    matrices = [(finalist, rows) for finalist, rows in matrices if rows]
    kept = [c.rows[0] for c in ranked(candidates) if c.rows]
    return [
        path_figure(candidates, again, look),
        drift_figure(matrices),
        spectrum_figure(matrices, look),
        ranks_figure(kept),
        importance_figure(kept, look),
    ]


def path_figure(candidates: CandidateSet, again: Sequence[Finalist], look: Look) -> Picture | None:
    """Draw quality against forgetting for weights between the base and each tuned model."""
    if candidates.forgetting is None:
        return None
    found = [(x, path_of(x, candidates.quality, candidates.forgetting)) for x in again]
    paths = [(finalist, path) for finalist, path in found if len(path) > 2]
    if not paths:
        return None
    furthest = max(point.forgetting for _, path in paths for point in path)
    figure, (axes,) = panels(1, 10.9, 4.6)
    for finalist, path in paths:
        colour, marker = look[finalist.candidate.method]
        axes.plot(
            [point.forgetting for point in path], [point.quality for point in path],
            c=colour, marker=marker, ms=5, lw=1.4,
            label=finalist.candidate.label,
        )  # fmt: skip
        for share, y, x in path:
            if share > 0 and x > 0.04 * furthest:  # those near the base lie on one another
                axes.annotate(
                    f"{share:g}", (x, y), xytext=(4, 4), textcoords="offset points",
                    color=colour, fontsize=8,
                )  # fmt: skip
    first = [path[0] for _, path in paths if path[0].share == 0]
    bases = {(point.forgetting, point.quality) for point in first}
    for i, (x, y) in enumerate(sorted(bases)):
        label = say("untouched base") if i == 0 else None
        axes.scatter(x, y, s=60, marker="*", c=INK, zorder=3, label=label)
    title, unit = f.title(candidates.forgetting), f.unit(candidates.forgetting)
    axes.set_xlabel(less_is_better(f"{title}, {unit}"))
    axes.set_ylabel(less_is_better(f.title(candidates.quality), not candidates.maximize))
    legend_beside(figure)
    ways = "; ".join(
        f"{finalist.candidate.label}: "
        + ", ".join(
            say(
                "α={share:g} {quality} at {forgetting}",
                share=share,
                quality=f.score(candidates.quality, y),
                forgetting=f.score(candidates.forgetting, x),
            )
            for share, y, x in path
        )
        for finalist, path in paths
    )
    alt = say(
        "{quality} and {title} between base and tuned weights. {ways}.",
        quality=f.title(candidates.quality),
        title=title,
        ways=ways,
    )
    caption = say(
        "Weights between the base (α = 0) and the tuned model (α = 1): θ = (1 − α)·θ₀ "
        "+ α·θ₁ (WiSE-FT, arXiv:2109.01903). No training: less of the same change. One "
        "seed each."
    )
    return Picture("path", say("Between base and tuned"), svg(figure, "path", alt), alt, caption)


def drift_figure(matrices: Sequence[tuple[Finalist, list[dict[str, Any]]]]) -> Picture | None:
    """Draw ‖ΔW‖_F/‖W‖_F by layer and kind of module, one map per finalist."""
    maps: list[Map] = []
    for finalist, rows in matrices[:MOST_MAPS]:
        moved = {
            (row["layer"], row["kind"]): row["drift"]
            for row in rows
            if row["layer"] is not None and row["drift"]
        }
        if moved:
            maps.append((finalist.candidate.label, moved))
    if not maps:
        return None
    values = [value for _, moved in maps for value in moved.values()]
    figure = _maps(maps, LogNorm(min(values), max(max(values), 1.001 * min(values))), "drift")
    means = "; ".join(f"{t} {100 * statistics.mean(m.values()):.2g} %" for t, m in maps)
    alt = say(
        "Relative size of the update by layer and kind of module; means: {means}.", means=means
    )
    caption = say(
        "‖ΔW‖_F / ‖W‖_F of each weight matrix, one scale for all; white: unchanged. "
        "Embeddings and other matrices outside the layers are not shown."
    )
    if len(matrices) > MOST_MAPS:
        caption += say(" The best {n} of {of} finalists.", n=MOST_MAPS, of=len(matrices))
    return Picture("drift", say("Drift by layer"), svg(figure, "drift", alt), alt, caption)


def _maps(maps: Sequence[Map], norm: Normalize, what: str):
    """Draw maps with layers upwards and kinds of module across, on one scale."""
    kinds = list(dict.fromkeys(kind for _, values in maps for _, kind in values))
    layers = sorted({layer for _, values in maps for layer, _ in values})
    figure, axes_list = panels(len(maps), 10.9, min(7.0, 2.1 + 0.26 * len(layers)))
    mesh = None
    for axes, (title, values) in zip(axes_list, maps, strict=True):
        grid = np.array([[values.get((y, x), np.nan) for x in kinds] for y in layers])
        mesh = axes.pcolormesh(
            np.ma.masked_invalid(grid), cmap=SHADES, norm=norm, edgecolors="white", linewidth=0.8
        )
        if what == "ranks" and len(layers) <= 16 and len(maps) * len(kinds) <= 40:
            _numbers(axes, grid, norm)
        axes.set_xticks(
            np.arange(len(kinds)) + 0.5, [kind.rpartition(".")[2] for kind in kinds],
            rotation=60, ha="right", rotation_mode="anchor", fontsize=8,
        )  # fmt: skip
        step = 1 + (len(layers) - 1) // 16
        shown = [str(layer) for layer in layers[::step]]
        axes.set_yticks(np.arange(0, len(layers), step) + 0.5, shown, fontsize=8)
        axes.tick_params(length=0)
        axes.grid(visible=False)
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
        axes.set_title(title, fontsize=9)
    axes_list[0].set_ylabel(say("layer"))
    for axes in axes_list[1:]:
        axes.tick_params(labelleft=False)
    assert mesh is not None
    bar = figure.colorbar(mesh, ax=axes_list, pad=0.01, aspect=28)
    bar.outline.set_visible(False)
    if isinstance(norm, LogNorm):
        bar.ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        bar.ax.yaxis.set_minor_locator(NullLocator())
        bar.ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.2g} %")
    else:
        bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    return figure


def _numbers(axes: Axes, grid: np.ndarray, norm: Normalize) -> None:
    for (y, x), value in np.ndenumerate(grid):
        if np.isfinite(value):
            colour = "white" if norm(value) > 0.6 else INK
            axes.text(x + 0.5, y + 0.5, f"{value:.0f}", ha="center", va="center", fontsize=7.5,
                      color=colour)  # fmt: skip


def spectrum_figure(
    matrices: Sequence[tuple[Finalist, list[dict[str, Any]]]], look: Look
) -> Picture | None:
    """Draw singular values of the most changed matrix, and the effective ranks of all matrices."""
    drawn = matrices[: 2 * MOST_MAPS]
    if not drawn:
        return None
    figure, (left, right) = panels(2, 10.9, max(3.4, 1.4 + 0.3 * len(drawn)))
    named = []
    for y, (finalist, rows) in enumerate(reversed(drawn)):
        colour, _ = look[finalist.candidate.method]
        ranks = [row["effective_rank"] for row in rows if row["effective_rank"]]
        shift = np.linspace(-0.22, 0.22, len(ranks))
        right.scatter(ranks, y + shift, s=9, c=colour, alpha=0.5, lw=0)
        if ranks:
            right.scatter(statistics.median(ranks), y, s=170, marker="|", c=INK, lw=1.6)
    for finalist, rows in drawn:
        colour, _ = look[finalist.candidate.method]
        most = max(rows, key=lambda row: row["drift"] or 0.0)
        values = most["singular_values"]
        if values:
            steps = range(1, len(values) + 1)
            left.plot(steps, values, c=colour, marker=".", ms=4, lw=1.2)
            where = "" if most["layer"] is None else say(" of layer {layer}", layer=most["layer"])
            named.append(f"{finalist.candidate.label}: {most['kind']}{where}")
    shown = [v for line in left.lines for v in np.asarray(line.get_ydata(), float).tolist()]
    if shown:
        log_axis(left.yaxis, 10, shown)
    left.set_xlabel(say("direction"))
    left.set_title(say("singular values of the most changed matrix"))
    right.set_yticks(range(len(drawn)), [x.candidate.label for x, _ in reversed(drawn)])
    right.tick_params(axis="y", length=0, labelcolor=INK)
    right.grid(axis="y", visible=False)
    right.set_ylim(-0.6, len(drawn) - 0.4)
    right.set_xlim(left=0)
    right.set_title(say("effective rank of the update, a point a matrix"))
    listed = "; ".join(named)
    alt = say(
        "Singular values of the most changed matrix of each finalist ({listed}), effective ranks.",
        listed=listed,
    )
    caption = say(
        "Most changed by ‖ΔW‖_F/‖W‖_F: {listed}. Colours as on the right; the bar is the median.",
        listed=listed,
    )
    return Picture("spectrum", say("Spectrum"), svg(figure, "spectrum", alt), alt, caption)


def ranks_figure(rows: Sequence[FinishedTrial]) -> Picture | None:
    """Draw the ranks that a method allocated, by layer and module."""
    maps: list[Map] = []
    for row in rows:
        ranks = _numbers_of(row, "ranks")
        placed = {place: rank for name, rank in ranks.items() if (place := _place(name))}
        if placed:
            maps.append((row.record.method, placed))
    maps = maps[:MOST_MAPS]
    if not maps:
        return None
    values = [value for _, ranks in maps for value in ranks.values()]
    figure = _maps(maps, Normalize(0, max(*values, 1)), "ranks")
    totals = "; ".join(
        say(
            "{title}: {total:.0f} in all, {least:.0f} to {most:.0f}",
            title=title,
            total=sum(r.values()),
            least=min(r.values()),
            most=max(r.values()),
        )
        for title, r in maps
    )
    alt = say("Final rank of each module. {totals}.", totals=totals)
    caption = say("Rank of each module at the end of the first seed ({totals}).", totals=totals)
    return Picture("ranks", say("Where the rank went"), svg(figure, "ranks", alt), alt, caption)


def _place(name: str) -> tuple[int, str] | None:
    """Split a module's name: 'model.layers.3.mlp.up_proj' into (3, 'mlp.up_proj')."""
    parts = name.split(".")
    at = next((i for i, part in enumerate(parts) if part.isdigit()), None)
    if at is None or at + 1 == len(parts):
        return None
    return int(parts[at]), ".".join(parts[at + 1 :])


def importance_figure(rows: Sequence[FinishedTrial], look: Look) -> Picture | None:
    """Draw the importance of parameter groups, as a method recorded it."""
    found = [(row.record.method, _numbers_of(row, "importance")) for row in rows]
    found = [(method, groups) for method, groups in found if groups][:3]
    if not found:
        return None
    most = max(min(len(groups), MOST_BARS) for _, groups in found)
    figure, axes_list = panels(len(found), 10.9, 0.9 + 0.24 * most)
    for axes, (method, groups) in zip(axes_list, found, strict=True):
        shown = sorted(groups.items(), key=lambda item: -abs(item[1]))[:MOST_BARS]
        shown.sort(key=lambda item: item[1])
        names, values = zip(*shown, strict=True)
        axes.barh(range(len(shown)), values, height=0.66, color=look[method][0], alpha=0.85)
        axes.axvline(0, color=QUIET, lw=0.8)
        axes.set_yticks(range(len(shown)), names, fontsize=8)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.grid(axis="y", visible=False)
        axes.set_title(method)
    first = "; ".join(
        say("{method}: {largest} most", method=method, largest=max(g, key=lambda n: g[n]))
        for method, g in found
    )
    alt = say("Importance of groups of parameters. {first}.", first=first)
    caption = say("Importance of each group of parameters, by which those to train were chosen.")
    if any(len(groups) > MOST_BARS for _, groups in found):
        caption += say(" The {n} largest.", n=MOST_BARS)
    return Picture(
        "importance", say("What matters where"), svg(figure, "importance", alt), alt, caption
    )


def _numbers_of(row: FinishedTrial, name: str) -> dict[str, float]:
    """Return the numbers that a method recorded under ``name``; {} if they are not numbers."""
    recorded = row.record.provenance.get("method")
    values = recorded.get(name) if isinstance(recorded, dict) else None
    if not isinstance(values, dict):
        return {}
    return {str(k): float(v) for k, v in values.items() if isinstance(v, int | float)}
