"""Figure of the best of n trials by method, at equal numbers of trials."""

from __future__ import annotations

import numpy as np
from matplotlib.ticker import MaxNLocator

from harness.language import say
from harness.reporting import formatting as f
from harness.reporting.evidence.folders.run_folder import SweepRecords
from harness.reporting.evidence.searched.settings import INDEPENDENT, final_score
from harness.reporting.figures.style import FEW, Look, Picture, legend_beside, panels, svg
from harness.statistics.budget import best_of

MOST_POINTS = 40  # of a line


def best_of_n_figure(run: SweepRecords, look: Look) -> Picture | None:
    """Draw the expected best of n trials of each method, with the band of 80 % of such searches."""
    if not run.sweep.objectives:
        return None
    name, direction = run.sweep.objectives[0]
    figure, (axes,) = panels(1, 10.9, 3.9)
    ends, most = [], 1
    banded = len(run.sweep.methods) <= FEW
    for method in run.sweep.methods:
        own = [r.record for r in run.rows if r.record.method == method]
        scores = [final_score(record, name) for record in own if record.stage != "confirm"]
        if not scores:
            continue
        sizes = np.unique(np.linspace(1, len(scores), MOST_POINTS).round().astype(int)).tolist()
        points = best_of(scores, sizes, direction == "maximize")
        if not points:
            continue
        colour, marker = look[method]
        at, mean = [point.n for point in points], [point.mean for point in points]
        axes.plot(at, mean, c=colour, marker=marker, markevery=[-1], ms=5, label=method)
        if banded:
            low, high = [point.low for point in points], [point.high for point in points]
            axes.fill_between(at, low, high, color=colour, alpha=0.12, linewidth=0)
        most = max(most, len(scores))
        ends.append(
            say(
                "{method} {score} after {n}",
                method=method,
                score=f.score(name, mean[-1]),
                n=len(scores),
            )
        )
    if not ends or most < 2:
        return None
    locator = axes.xaxis.get_major_locator()
    assert isinstance(locator, MaxNLocator)
    locator.set_params(integer=True)
    axes.set_xlabel(say("trials spent"))
    axes.set_ylabel(say("expected best {name}", name=f.title(name)))
    legend_beside(figure)
    alt = say("Expected best {name} of n trials: {ends}.", name=f.title(name), ends="; ".join(ends))
    caption = say(
        "Mean best of n of a method's trials (Dodge et al. 2019): at the same n every method has had "
        "the same budget. Pruned and failed trials count as trials without a score; a line begins "
        "where 95 % of the draws have one."
    )
    if banded:
        caption += say(
            " Bands hold 80 % of searches of n trials, drawn from these with replacement."
        )
    if run.sweep.search.get("sampler") not in INDEPENDENT:
        caption += say(
            " This sampler learns from earlier trials, so they are no independent draws."
        )
    return Picture("budget", say("Best of n trials"), svg(figure, "budget", alt), alt, caption)
