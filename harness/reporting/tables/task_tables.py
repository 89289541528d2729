"""Tables of other tasks: the change on each, and every score of lm-eval."""

from __future__ import annotations

from harness.language import say, say_each
from harness.reporting import formatting as f
from harness.reporting.evidence.candidates import Candidate, CandidateSet
from harness.reporting.evidence.ranking import ranked
from harness.reporting.evidence.task_results import TaskResult, task_results
from harness.reporting.table import Cell, Table
from harness.statistics.measurements.names import FORGETTING_TASKS, TASKS


def tasks_table(candidates: CandidateSet) -> Table:
    """Build the table of changes on every task that was not trained for."""
    headers = say_each(
        "Method", "Configuration", "Task", "Base, %", "Tuned, %", "Change, points", "SE"
    )
    headers += say_each("Gains", "Losses", "Agreement, %", "Items", "McNemar p")
    rows = []
    for candidate in (c for c in ranked(candidates) if c.rows):
        results = task_results(candidate)
        for name, estimate in candidate.estimates.items():
            if not name.startswith(f"{FORGETTING_TASKS}."):
                continue
            change = f.with_interval(name, estimate.value, estimate.low, estimate.high, sign=True)
            items = f.MISSING if estimate.n is None else str(estimate.n)
            clusters = _clusters(candidate, name)
            if clusters is not None:
                items += say(" in {clusters}", clusters=clusters)
            values = _values(results.get(name), change, items)
            cells = (*_who(candidate), Cell(name.removeprefix(f"{FORGETTING_TASKS}.")))
            rows.append(cells + tuple(Cell(value, "number") for value in values))
    note = say(
        "Change and its standard error (SE) are paired by item, in percentage points. "
        "If items share a passage (“in” so many), both are computed over passages. "
        "Gains are items that changed from wrong to right, losses from right to wrong, "
        "and agreement the rest, averaged over seeds. p is exact, the largest over "
        "seeds."
    )
    return Table(headers, tuple(rows), note)


def _values(result: TaskResult | None, change: str, items: str) -> list[str]:
    if result is None:
        return ["–", "–", change, "–", "–", "–", "–", items, f.p_value(None)]
    error = None if result.standard_error is None else 100 * result.standard_error
    return [
        f.number(100 * result.base, 1),
        f.number(100 * result.tuned, 1),
        change,
        f.number(error, 1),
        f"{round(result.gains, 1):g}",
        f"{round(result.losses, 1):g}",
        f.number(100 * result.agreement, 1),
        items,
        f.p_value(result.p_value),
    ]


def task_scores_table(candidates: CandidateSet) -> Table:
    """Build one row for every metric of every task, with tuned model and base."""
    headers = say_each("Method", "Configuration", "Task", "Metric", "Base", "Tuned", "Items")
    rows = []
    for candidate in (c for c in ranked(candidates) if c.rows):
        for name, estimate in candidate.estimates.items():
            if not name.startswith(TASKS):
                continue
            task, _, metric = name.removeprefix(TASKS).rpartition(".")
            base = candidate.base.get(name)
            before, after = None if base is None else base.value, estimate.value
            low, high = estimate.low, estimate.high
            values = [
                f.score(name, before),
                f.with_interval(name, after, low, high),
                f.MISSING if estimate.n is None else str(estimate.n),
            ]
            cells = (*_who(candidate), Cell(task), Cell(metric))
            rows.append(cells + tuple(Cell(value, "number") for value in values))
    note = say(
        "Values of lm-eval's metric of that name, on its own scale. "
        "written_minus_likely: accuracy of the written answers minus that of the "
        "likeliest choice, on the same items."
    )
    return Table(headers, tuple(rows), note)


def _who(candidate: Candidate) -> tuple[Cell, Cell]:
    return Cell(candidate.method, "method"), Cell(f.settings(candidate.settings))


def _clusters(candidate: Candidate, name: str) -> str | None:
    """Return the number of clusters of the items, from the signature."""
    for row in candidate.rows:
        measured = row.record.measurements.get(name)
        for part in () if measured is None else measured.signature.split("|"):
            if part.startswith("clusters:"):
                return part.removeprefix("clusters:")
    return None
