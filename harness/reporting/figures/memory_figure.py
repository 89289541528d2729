"""Figure of memory by purpose."""

from __future__ import annotations

from collections.abc import Mapping

from harness.language import say
from harness.records.footprint import Footprint
from harness.reporting.figures.style import GRID, INK, Picture, legend_beside, panels, svg
from harness.reporting.tables.memory_table import PARTS


def memory_figure(footprints: Mapping[str, Footprint]) -> Picture | None:
    """Draw the memory of each method by purpose, as stacked bars."""
    shown = {m: found for m, found in reversed(list(footprints.items())) if found.micro_batch_size}
    if not shown:
        return None
    largest = max(sum(getattr(found, part) for part in PARTS) for found in shown.values())
    words, factor = ("GB", 1.0) if largest >= 0.5 else ("MB", 1000.0)
    figure, (axes,) = panels(1, 10.9, 0.9 + 0.34 * len(shown))
    left = [0.0] * len(shown)
    for part, (name, colour) in PARTS.items():
        lengths = [factor * getattr(found, part) for found in shown.values()]
        axes.barh(
            range(len(shown)), lengths, 0.62, left, color=colour, label=say(name), linewidth=0
        )
        left = [a + b for a, b in zip(left, lengths, strict=True)]
    for y, total in enumerate(left):
        digits = 0 if total >= 100 else 1 if total >= 10 else 2
        axes.text(total + 0.01 * max(left), y, f"{total:,.{digits}f}", va="center", fontsize=9)
    axes.set_yticks(range(len(shown)), list(shown))
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_xlim(0, 1.12 * max(left))
    axes.set_xlabel(say("tensors, {words}", words=words))
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=GRID)
    legend_beside(figure)
    alt = say("Memory of a step: ") + "; ".join(
        f"{method} {total:,.3g} {words}"
        for method, total in reversed(list(zip(shown, left, strict=True)))
    )
    caption = say("At the most of a step with the longest sequences, each method as configured.")
    return Picture("memory", say("Where memory goes"), svg(figure, "memory", alt), alt, caption)
