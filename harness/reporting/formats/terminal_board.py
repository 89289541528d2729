"""Report in a terminal: decision, leader board, and the path of the page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.language import in_language, say
from harness.records import read_json
from harness.reporting import formatting as f
from harness.reporting.verdict.contest import UNTESTED

SHOWN = 12  # rows of the leader board
SHOWN_PROBLEMS = 3  # candidates that cannot be chosen, where there are no others
ROOMY = 100  # columns that a table with costs needs


def announce(folder: Path, console: Console) -> None:
    """Print a summary of the report in ``folder``, in its language, that fits on one screen."""
    report = read_json(folder / "report.json")
    assert report is not None, f"{folder} was just written"
    with in_language(report["language"]):
        _announce(report, folder, console)


def _announce(report: Mapping[str, Any], folder: Path, console: Console) -> None:
    recommendation = report["recommendation"]
    show = _plain(console)
    show("")
    show(recommendation["headline"], style="bold")
    meaning = recommendation["meaning"]
    if recommendation["chosen"] is None:
        meaning = recommendation["reasons"]
    for line in meaning:
        show(f"  {line}")
    if recommendation["decided_by"] is None:  # each candidate has a problem, such as a limit
        for other in recommendation["runners_up"][:SHOWN_PROBLEMS]:
            show(f"  {other['label']}: {other['why']}")
    cautions = recommendation["cautions"]
    if cautions:
        show(say("Before acting on this:"))
        for caution in cautions[:3]:
            show(f"  - {caution}")
        if len(cautions) > 3:
            show("  - " + say("and {n} more on the page", n=len(cautions) - 3))
    if report["leaderboard"]:
        show("")
        console.print(_board(report, console.width))
    for step in recommendation["next_steps"]:
        show(f"{step['what']} {step['command']}")
    show(say("Report: {folder} (open {page})", folder=folder, page=folder / "index.html"))


def _plain(console: Console):
    """Return a function that prints text as it is: a method may be called [red]."""

    def show(text: str, style: str | None = None) -> None:
        console.print(Text(text, style=style or ""), soft_wrap=not console.is_terminal)

    return show


def _board(report: Mapping[str, Any], width: int) -> Table:
    quality, forgetting = report["quality"]["measurement"], report["forgetting"]
    roomy = width >= ROOMY
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", justify="right")
    table.add_column(say("configuration"), overflow="fold", min_width=16)
    table.add_column(f.title(quality), justify="right")
    table.add_column(say("tied"))
    if forgetting:
        unit = f.unit(forgetting)
        name = f"{f.title(forgetting)}, {unit}" if roomy and unit else say("forgetting")
        table.add_column(name, justify="right")
    if roomy:
        table.add_column(say("peak memory"), justify="right")
        table.add_column(say("training"), justify="right")
    for place, row in enumerate(report["leaderboard"][:SHOWN], 1):
        measured, cost = row["measurements"], row["cost"]
        cells = [str(place) if row["eligible"] else f.MISSING, row["label"]]
        cells.append(_estimate(quality, measured.get(quality)))
        cells.append(say(row["tied"]) if row["tied"] == UNTESTED else row["tied"] or f.MISSING)
        if forgetting:
            cells.append(_estimate(forgetting, measured.get(forgetting)))
        if roomy:
            cells.append(f.gigabytes(cost.get("peak_memory_gb")))
            cells.append(f.duration(cost.get("train_seconds")))
        chosen = row["label"] == report["recommendation"]["chosen"]
        table.add_row(*map(Text, cells), style="bold" if chosen else "")
    return table


def _estimate(name: str, estimate: Mapping[str, Any] | None) -> str:
    if estimate is None:
        return f.MISSING
    return f.with_interval(name, estimate["value"], estimate["low"], estimate["high"])
