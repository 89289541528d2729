"""Display of one record in the terminal: measurements, costs and the places of its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.records.measurement import shown


def show(record: Any, folder: Path) -> None:
    """Print measurements and costs of one record, and the places of its files."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=120)  # a file has no line width
    title = f"{record.method}, seed {record.seed}: {record.status}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    rows = []
    for name, m in record.measurements.items():
        interval = (
            "–" if m.interval is None else f"[{shown(m.interval[0])}, {shown(m.interval[1])}]"
        )
        base = record.base.get(name)
        before = "–" if base is None else shown(base.value)
        rows.append((name, shown(m.value), interval, str(m.n), m.unit, before))
    headers = ("measurement", "value", "95 % interval", "n", "unit", "base")
    for header, *cells in zip(headers, *rows, strict=True):
        if header in ("measurement", "unit"):  # these may wrap; a number must not be cut off
            table.add_column(header, overflow="fold")
        else:
            table.add_column(header, justify="right", min_width=max(map(len, cells), default=0))
    for row in rows:
        table.add_row(*row)
    if record.measurements:
        console.print(table)
    for name, why in record.missing.items():
        console.print(f"{name}: missing, because {why}", soft_wrap=True, markup=False)
    for name, outcome in record.afterwards.items():
        parts = [f"{n} {m.value:.4g}" for n, m in outcome.measurements.items() if n.count(".") == 1]
        parts += [outcome.note] if outcome.note else []
        console.print(f"{name}: {', '.join(parts)}", soft_wrap=True)
    hint = (record.provenance.get("written") or {}).get("hint")
    if hint:
        console.print(f"Note: {hint}", soft_wrap=True, markup=False)
    if record.reason:
        console.print(f"{record.status}: {record.reason}")
    costs = [f"{name} {value:,.3f}".rstrip("0").rstrip(".") for name, value in record.cost.items()]
    console.print(", ".join(costs), soft_wrap=True)
    console.print(f"{folder}")


def say_without(splits: Any, config: Any) -> None:
    """Print the metrics that will be uninformative or missing. Raises InputError for an invalid one."""
    from harness.evaluation.answers.configured import unusable

    examples = splits.test if config.stage == "confirm" else splits.validation
    for measured, why in unusable(examples, config.data, config.evaluation).items():
        print(f"{measured} {why}")
