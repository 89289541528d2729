"""Report of a sequence of tasks: retained, lost and transferred scores in tables and on a page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.language import say, say_each
from harness.records import write_text
from harness.reporting import formatting as f
from harness.reporting.table import Cell, Table
from harness.statistics import sequences
from harness.statistics.measurements.definitions import METRIC_DEFINITIONS, kind_of
from harness.statistics.measurements.names import FORGETTING_KL, FORGETTING_NLL


def _signed_scores(data: Mapping[str, Any]) -> np.ndarray:
    """Return (T + 1, T) scores, the untouched base first; negated if less is better."""
    values = [[score["value"] for score in stage["scores"]] for stage in data["stages"]]
    less_is_better = METRIC_DEFINITIONS[kind_of(data["measurement"])].direction == "minimize"
    return np.array(values) * (-1.0 if less_is_better else 1.0)


def summary(data: Mapping[str, Any]) -> dict[str, float]:
    """Return ACC, BWT, FWT and F of ``statistics.sequences``, and FG if abilities were measured."""
    start, *after = _signed_scores(data)
    found = {
        "ACC": sequences.average_accuracy(after),
        "BWT": sequences.backward_transfer(after),
        "FWT": sequences.forward_transfer(after, start),
        "F": sequences.forgetting_measure(after),
    }
    first, *others = (stage["abilities"] for stage in data["stages"])
    shares = [
        sequences.general_forgetting(value, [stage[name] for stage in others])
        for name, value in first.items()
        if value > 0 and all(name in stage for stage in others)
    ]
    if shares:
        found["FG"] = float(np.mean(shares))
    return {name: value for name, value in found.items() if math.isfinite(value)}


def contents(data: Mapping[str, Any]) -> list[tuple[str, Table]]:
    """Return the tables: scores after each task, their summary, and changes outside the tasks."""
    name = data["measurement"]
    less = METRIC_DEFINITIONS[kind_of(name)].direction == "minimize"
    summed = say(
        "The sequence in numbers (of its negative: less is better)"
        if less
        else "The sequence in numbers"
    )
    tables = [
        (say("{name} of each task, after each task", name=f.title(name)), _matrix(data)),
        (summed, _summary(data)),
        (say("Besides the tasks"), _besides(data)),
    ]
    return [(title, table) for title, table in tables if table.rows]


def _after(stage: Mapping[str, Any]) -> Cell:
    return Cell(say("untouched base"), "quiet") if stage["after"] is None else Cell(stage["after"])


def _matrix(data: Mapping[str, Any]) -> Table:
    name, rows = data["measurement"], []
    for place, stage in enumerate(data["stages"], -1):
        cells = []
        for task, score in enumerate(stage["scores"]):
            low, high = score["interval"] or (None, None)
            text = f.with_interval(name, score["value"], low, high)
            cells.append(Cell(text, "number strong" if task == place else "number"))
        rows.append((_after(stage), *cells))
    note = say(
        "A row a stage, a column a task, on its test split. Bold: the task just "
        "trained on. Below it what was kept of it later, above it what it began with. "
        "Brackets: 95 %, over examples."
    )
    return Table((say("After"), *data["tasks"]), tuple(rows), note)


def _summary(data: Mapping[str, Any]) -> Table:
    name = data["measurement"]
    rows = []
    for key, value in data["summary"].items():
        shown = f"{f.number(100 * value, 1)} %" if key == "FG" else f.score(name, value, sign=True)
        rows.append((Cell(key), Cell(shown, "number"), Cell(say(sequences.CONVENTIONS[key]))))
    note = say("One seed and one order of the tasks: another order gives other numbers.")
    return Table(("", *say_each("Value", "What it is")), tuple(rows), note)


def _besides(data: Mapping[str, Any]) -> Table:
    """Build the table of the distance from the base on general text, and of untrained tasks."""
    moved = [name for name in (FORGETTING_KL, FORGETTING_NLL)
             if any(name in stage["general"] for stage in data["stages"])]  # fmt: skip
    abilities = list(dict.fromkeys(n for stage in data["stages"] for n in stage["abilities"]))
    rows = []
    for stage in data["stages"]:
        cells = []
        for name in moved:
            found = stage["general"].get(name)
            low, high = (found or {}).get("interval") or (None, None)
            text = "0" if stage["after"] is None else f.MISSING
            if found is not None:
                text = f.with_interval(name, found["value"], low, high)
            cells.append(Cell(text, "number"))
        for name in abilities:
            value = stage["abilities"].get(name)
            shown = f.MISSING if value is None else f.number(value, 3)
            cells.append(Cell(shown, "number"))
        rows.append((_after(stage), *cells))
    headers = (say("After"), *(f"{f.title(name)}, {f.unit(name)}" for name in moved), *abilities)
    return Table(headers, tuple(rows) if len(headers) > 1 else ())


def write(name: str, data: Mapping[str, Any], reports: Path) -> Path:
    """Write ``reports/NAME/index.html`` and return its path."""
    from harness.reporting.formats.page import environment

    commands = [stage["folder"] for stage in data["stages"] if stage["folder"]]
    page = environment().get_template("sequence.html.j2")
    text = page.render(name=name, data=data, contents=contents(data), folders=commands)
    path = reports / name / "index.html"
    write_text(path, text)
    return path
