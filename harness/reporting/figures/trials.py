"""Figures of the trials' progress and cost. Each returns a Picture, or None."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from matplotlib.axes import Axes

from harness.language import phrase, say
from harness.reporting import formatting as f
from harness.reporting.evidence.candidates import Candidate, CandidateSet
from harness.reporting.evidence.folders.run_folder import (
    FinishedTrial,
    SweepRecords,
    read_curves,
)
from harness.reporting.evidence.ranking import ranked
from harness.reporting.figures.style import (
    FEW,
    GRID,
    INK,
    QUIET,
    Look,
    Picture,
    legend_beside,
    log_axis,
    panels,
    svg,
)
from harness.statistics.measurements.names import (
    DRIFT_KL,
    FORGETTING_KL,
    FORGETTING_NLL,
    VALIDATION_ACCURACY,
    VALIDATION_BLEU,
    VALIDATION_PERPLEXITY,
)


def search_points(run: SweepRecords, *names: str) -> list[tuple[FinishedTrial, tuple[float, ...]]]:
    """Return the complete search trials that have all of these measurements, with their values."""
    points = []
    for row in run.rows:
        if row.record.stage == "confirm" or row.record.status != "complete":
            continue
        values = [row.record.value(name) for name in names]
        known = tuple(value for value in values if value is not None)
        if len(known) == len(names):
            points.append((row, known))
    return points


CURVES = (
    ("loss", phrase("training loss, nats/token")),
    (VALIDATION_PERPLEXITY, phrase("validation perplexity")),
    (VALIDATION_BLEU, phrase("validation BLEU")),
    (VALIDATION_ACCURACY, phrase("validation accuracy")),
    (FORGETTING_KL, phrase("forgetting (KL), nats/token")),
    (FORGETTING_NLL, phrase("forgetting (NLL rise), nats/token")),
    (DRIFT_KL, phrase("drift on the task, nats/token")),
)


STROKES = ("solid", "dashed", "dotted", "dashdot")  # of finalists that share a colour
BEST_SHOWN = 6  # of many finalists: more lines could not be distinguished


def _strokes(drawn: Sequence[Candidate], look: Look) -> dict[str, str]:
    """Return the stroke of each finalist's lines: another one for each that shares a colour."""
    found: dict[str, str] = {}
    seen: Counter[str] = Counter()
    for candidate in drawn:
        colour, _ = look[candidate.method]
        found[candidate.label] = STROKES[seen[colour] % len(STROKES)]
        seen[colour] += 1
    return found


def curves_figure(candidates: CandidateSet, look: Look) -> Picture | None:
    """Draw learning and forgetting over the steps of each finalist, one line per seed."""
    finalists = [c for c in ranked(candidates) if c.rows]
    drawn = finalists if len(finalists) <= FEW else finalists[:BEST_SHOWN]
    read = [(c, read_curves(row.folder)) for c in drawn for row in c.rows]
    known = [
        (name, say(words))
        for name, words in CURVES
        if any(len(s.get(name, ())) > 1 for _, s in read)
    ]
    known = [k for k in known if k[0] != FORGETTING_NLL or FORGETTING_KL not in dict(known)][:3]
    if not known:
        return None
    figure, axes_list = panels(len(known), 10.9, 3.5)
    strokes = _strokes(drawn, look)
    for axes, (name, words) in zip(axes_list, known, strict=True):
        named = set()
        for candidate, series in read:
            points = series.get(name, [])
            if len(points) < 2:
                continue
            if name == "loss":
                points = _smoothed(points)
            colour, _ = look[candidate.method]
            label = candidate.label if candidate.label not in named else None
            named.add(candidate.label)
            axes.plot(
                *zip(*points, strict=True), c=colour, ls=strokes[candidate.label], lw=1.3, alpha=0.85,
                label=label if axes is axes_list[0] else None,
            )  # fmt: skip
        values = [v for _, series in read for _, v in series.get(name, ())]
        if name.endswith("perplexity") and max(values) > 20 * min(values):
            log_axis(axes.yaxis, 10, values)  # the untouched model's would flatten all that follows
        axes.set_xlabel(say("step"))
        axes.set_title(words)
    figure.legend(loc="outside lower center", ncols=2)
    alt = say(
        "{measured} over training steps for each finalist.",
        measured=", ".join((words for _, words in known)),
    )
    caption = say(
        "One line a seed. The training loss is a mean over a few steps. What is measured during "
        "training is measured on a few texts (evaluation.watched_examples); the tables are of all."
    )
    if len(drawn) < len(finalists):
        caption += say(" The best {n} of {of} finalists.", n=len(drawn), of=len(finalists))
    return Picture(
        "curves", say("Learning and forgetting"), svg(figure, "curves", alt), alt, caption
    )


def _smoothed(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Means of about 60 consecutive stretches, so that the line can be read."""
    width = max(1, len(points) // 60)
    stretches = [points[i : i + width] for i in range(0, len(points), width)]
    return [(s[-1][0], sum(v for _, v in s) / len(s)) for s in stretches]


def learning_rate_figure(run: SweepRecords, look: Look) -> Picture | None:
    """Learning rate against quality, one colour a method."""
    if not run.sweep.objectives:
        return None
    name = run.sweep.objectives[0][0]
    points = []
    for row, (quality,) in search_points(run, name):
        rate = row.settings.get("training.learning_rate")
        if isinstance(rate, int | float) and rate > 0:
            points.append((row.record.method, float(rate), quality))
    if len({rate for _, rate, _ in points}) < 2:
        return None
    figure, (axes,) = panels(1, 10.9, 3.7)
    for method in run.sweep.methods:
        own = sorted((rate, quality) for m, rate, quality in points if m == method)
        if own:
            colour, marker = look[method]
            axes.scatter(*zip(*own, strict=True), c=colour, marker=marker, s=32, alpha=0.8, lw=0,
                         label=method)  # fmt: skip
    log_axis(axes.xaxis, 10, [rate for _, rate, _ in points])
    axes.set_xlabel(say("learning rate"))
    axes.set_ylabel(f.title(name))
    legend_beside(figure)
    alt = say(
        "{name} against learning rate of {n} search trials.", name=f.title(name), n=len(points)
    )
    caption = say("Complete search trials. A best point at the edge asks for a wider range.")
    return Picture("rate", say("Learning rate"), svg(figure, "rate", alt), alt, caption)


COSTS = (
    ("peak_memory_gb", phrase("peak memory, GB"), 1.0),
    ("train_seconds", phrase("training, s"), 1.0),
    ("tokens_per_second", phrase("training, tokens/s"), 1.0),
)


def cost_figure(candidates: CandidateSet, look: Look) -> Picture | None:
    """Memory, time and throughput of the finalists as bars."""
    shown = [c for c in reversed(ranked(candidates)) if c.cost]
    costs = [cost for cost in COSTS if any(cost[0] in c.cost for c in shown)]
    if not shown or not costs:
        return None
    figure, axes_list = panels(
        len(costs), 10.9, 0.9 + (0.42 if len(shown) <= FEW else 0.27) * len(shown)
    )
    for axes, (name, words, factor) in zip(axes_list, costs, strict=True):
        if name == "train_seconds" and max(c.cost.get(name, 0.0) for c in shown) > 300:
            words, factor = phrase("training, min"), 1 / 60
        _bars(axes, [c.cost.get(name) for c in shown], factor, [look[c.method][0] for c in shown])
        axes.set_yticks(range(len(shown)), [c.label for c in shown])
        axes.tick_params(axis="y", labelleft=axes is axes_list[0], length=0, labelcolor=INK)
        axes.set_title(say(words))
    largest = "; ".join(
        f"{c.label} {f.gigabytes(c.cost.get('peak_memory_gb'))}, "
        f"{f.duration(c.cost.get('train_seconds'))}"
        for c in reversed(shown)
    )
    alt = say("Cost of each finalist: {largest}.", largest=largest)
    return Picture("cost", say("Cost"), svg(figure, "cost", alt), alt, say("Mean over seeds."))


def _bars(axes: Axes, values: list[float | None], factor: float, colours: list[str]) -> None:
    largest = max(v for v in values if v is not None) * factor
    for y, (value, colour) in enumerate(zip(values, colours, strict=True)):
        if value is None:
            axes.text(0, y, f" {f.MISSING}", va="center", color=QUIET)
            continue
        length = value * factor
        axes.barh(y, length, height=0.62, color=colour, alpha=0.85, linewidth=0)
        digits = 0 if length >= 100 else 1 if length >= 10 else 2
        axes.text(length + largest * 0.015, y, f"{length:,.{digits}f}", va="center", fontsize=9)
    axes.set_xlim(0, largest * 1.22 if largest > 0 else 1)
    axes.set_ylim(-0.6, len(values) - 0.4)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=GRID)
