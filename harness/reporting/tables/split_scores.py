"""Table of all scores on the split that quality is measured on, each with its direction."""

from __future__ import annotations

from harness.language import say, say_each
from harness.reporting import formatting as f
from harness.reporting.evidence.candidates import Candidate, CandidateSet
from harness.reporting.evidence.ranking import ranked
from harness.reporting.table import Cell, Table
from harness.reporting.tables.leaderboard import interval_text
from harness.statistics.measurements.definitions import METRIC_DEFINITIONS, kind_of

ARROWS = {"maximize": "\u00a0↑", "minimize": "\u00a0↓", None: ""}


def split_scores(candidates: CandidateSet, chosen: Candidate | None) -> Table:
    """Build one row for each candidate, the base last. Empty if the leader board shows all scores."""
    split = candidates.quality.split(".")[0]
    order = [candidate for candidate in ranked(candidates) if candidate.rows]
    known = dict.fromkeys(name for c in order for name in c.estimates)
    names = [name for name in known if name.startswith(f"{split}.")]
    headers = (*say_each("Method", "Configuration"), *(_title(name, split) for name in names))
    if len(names) < 3:
        return Table(headers, ())
    rows = []
    for candidate in order:
        own = (Cell(candidate.method, "method"), Cell(f.settings(candidate.settings) or "defaults"))
        scores = (interval_text(candidate.estimates.get(name)) for name in names)
        rows.append(own + tuple(Cell(text, "number") for text in scores))
    base = next((c.base for c in order if any(name in c.base for name in names)), None)
    if base is not None:
        texts = [f.measured(name, base.get(name)) for name in names]
        cells = tuple(Cell(text, "number") for text in texts)
        rows.append((Cell(say("untouched base"), "quiet"), Cell(""), *cells))
    note = say(
        "An arrow points in the better direction. A dash: not measured, or measured "
        "differently. Each interval belongs to its score alone."
    )
    return Table(headers, tuple(rows), note, order.index(chosen) if chosen in order else None)


def _title(name: str, split: str) -> str:
    kind = METRIC_DEFINITIONS.get(kind_of(name))
    arrow = ARROWS[None if kind is None else kind.direction]
    return f.title(name).removeprefix(f"{say(split)} ") + arrow
