"""The screen of a sweep: stage, time left, running trials, the best so far."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harness.records import Record
from harness.records.measurement import shown
from harness.search.screen.progress import (
    RunningTrial,
    SweepProgress,
    measured,
    settings_of,
)
from harness.terminal.phases import phase_in

SHOWN = 12  # running trials; with more workers the rest is a number


def screen(progress: SweepProgress) -> RenderableType:
    """Return what is shown of ``progress``, at any width from 60 columns on."""
    parts: list[RenderableType] = [_head(progress)]
    running = list(progress.running.values())
    if running:
        parts.append(_running(running[:SHOWN]))
        if len(running) > SHOWN:
            parts.append(Text(f"and {len(running) - SHOWN} more running", style="dim"))
    best = progress.best()
    if best is not None:
        parts.append(Text(f"best so far: {summary(best, progress)}"))
    return Group(*parts)


def head(progress: SweepProgress) -> str:
    """Return stage, counts and time left in one line; the trials of a budget have no total."""
    counts = [text for stage in ("search", "confirm") if (text := _count(progress, stage))]
    statuses = progress.statuses()
    counts += [f"{n} {status}" for status, n in sorted(statuses.items()) if status != "complete"]
    left = progress.left_in_words()
    if left is not None:
        counts.append(left)
    return " · ".join(counts)


def _count(progress: SweepProgress, stage: str) -> str:
    """Return 'search 2/8', 'search 2' on a budget, or nothing for a stage without trials."""
    n, total = progress.count(stage), progress.total(stage)
    if progress.budget is not None:
        return f"{stage} {n}" if n or stage == "search" else ""
    return f"{stage} {n}/{total}" if total else ""


def summary(record: Record, progress: SweepProgress) -> str:
    """Return a trial's method, settings and objectives."""
    settings = settings_of(record.config, record.provenance.get("search_space", {}))
    return f"{record.method} {settings}  {scores(record, progress)}"


def scores(record: Record, progress: SweepProgress) -> str:
    """Return the objectives of a record, or its status and the reason."""
    if record.status != "complete":
        return f"{record.status}: {record.reason}"
    values = {
        name: record.value(name) for name in (measured(o, record) for o in progress.objectives)
    }
    return "  ".join(
        f"{name} {'–' if value is None else shown(value)}" for name, value in values.items()
    )


def _head(progress: SweepProgress) -> RenderableType:
    line = Table.grid(padding=(0, 1))
    line.add_row(
        ProgressBar(total=1.0, completed=progress.share_done, width=24),
        Text(head(progress)),
    )
    return line


def _running(running: list[RunningTrial]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("running", no_wrap=True, overflow="ellipsis", ratio=1)
    for name in ("step", "loss", "tokens/s"):
        table.add_column(name, justify="right", no_wrap=True)
    for trial in running:
        doing = None if trial.step or trial.folder is None else phase_in(trial.folder)
        of = f"/{trial.steps:,}" if trial.steps else ""
        table.add_row(
            Text(f"{trial.method} {trial.settings}" + (f" · {doing}" if doing else "")),
            f"{trial.step:,}{of}",
            "–" if trial.loss is None else f"{trial.loss:.3f}",
            "–" if trial.tokens_per_second is None else f"{trial.tokens_per_second:,.0f}",
        )
    return table
