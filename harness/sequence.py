"""Sequential tasks: ``python -m harness.trial method=lora 'sequence=[builtin,builtin_domain]'``.

The model is tuned on the first data set and merged, then tuned on the second, and so on. After
each, it is scored on the test split of all. Each item is an option of ``data=``, optionally with
overrides: ``'sequence=[builtin,"jsonl data.train=b.jsonl"]'``. All other arguments are those of one
trial.
``measure=`` names the score; null selects the first of evaluation.metrics, or bits_per_byte if a
data set is plain text. Each stage is an ordinary trial under ``runs/NAME``, and its merged model is
kept. The same command resumes a stopped sequence.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import InputError
from harness.language import in_language
from harness.paths import user_path
from harness.terminal.phases import phase


def is_sequence(arguments: Sequence[str]) -> bool:
    return any(argument.startswith("sequence=") for argument in arguments)


def run(arguments: Sequence[str], usage: str) -> int:
    """Run all stages and return the exit code of harness.trial.

    Raises InputError before anything is trained.
    """
    from harness.compose.command_line import compose_trial, hydra_asked, show_hydra
    from harness.records.fingerprint import digest

    if hydra_asked(arguments):
        show_hydra([a for a in arguments if not a.startswith(("sequence=", "measure="))], usage)
        return 0
    asked = _own(arguments)
    items, rest = asked.tasks, asked.of_trial
    if not any(argument.startswith("name=") for argument in rest):
        rest.append(f"name=sequence-{digest([*rest, *map(str, items)], 6)}")
    with phase("reading the configuration"):
        composed = [compose_trial([*rest, *_overrides(item)]) for item in items]

    from harness.data.rows.splits import read_splits
    from harness.launch.one_device import device_of_this_process
    from harness.models.loading.location import check_model
    from harness.search.planning.first_rates import of_one_trial
    from harness.trials.by_hand.command import pinned, tune
    from harness.trials.by_hand.task_sequence import Stage, measured_by, merged_model, score_stage
    from harness.trials.workbench import Workbench

    configs = [plan.trial({}) for plan, _ in composed]
    check_model(configs[0].model)
    with phase("reading the data"):
        for config in configs:  # check all before training any
            read_splits(config.data)
    measurement = measured_by(configs, asked.measure)
    tree = composed[0][1]
    root = user_path(tree["runs_dir"])
    device = device_of_this_process(tree)
    bench = Workbench(device, root / ".cache")
    labels = _labels(items)
    stages = [Stage(None, None, configs[0].model)]
    rows = [score_stage(bench, stages, configs, measurement)]
    for label, item in zip(labels, items, strict=True):
        own = [*_overrides(item), "evaluation.merged=true"]
        if len(stages) > 1:
            own.append(f"model.name={stages[-1].model.name}")
        plan, own_tree = compose_trial([*rest, *own])
        plan, rate = of_one_trial(pinned(plan))
        print(f"{label}: {rate}", file=sys.stderr)
        record, folder = tune(plan, own_tree, device)
        if record.status != "complete":
            print(f"{label}: {record.status}: {record.reason}", file=sys.stderr)
            return 1
        model = replace(configs[0].model, name=str(merged_model(folder)), revision=None)
        stages.append(Stage(label, str(folder), model))
        rows.append(score_stage(bench, stages, configs, measurement))
        print(f"after {label}: scored on {len(labels)} tasks", file=sys.stderr)
    with in_language(tree["report"]["language"]):
        return _report(
            root / tree["name"], user_path(tree["reports_dir"]), labels, measurement, rows
        )


class _Asked(NamedTuple):
    tasks: list[str]
    measure: str | None
    of_trial: list[str]  # the other arguments


def _own(arguments: Sequence[str]) -> _Asked:
    """Return the tasks, the scored metric, and the arguments of a trial."""
    from harness.compose.override_grammar import parse

    own = {"sequence": None, "measure": None}
    rest = []
    for argument in arguments:
        key = argument.split("=")[0]
        if key not in own:
            rest.append(argument)
            continue
        own[key] = parse(argument).value()  # type: ignore[assignment]
    items: Any = own["sequence"]
    if not isinstance(items, list) or len(items) < 2:
        raise InputError(
            "sequence= needs a list of two data sets or more, such as "
            "'sequence=[builtin,builtin_domain]'."
        )
    tasks = [str(item) for item in items]
    return _Asked(tasks=tasks, measure=own["measure"], of_trial=rest)


def _overrides(item: str) -> list[str]:
    """Return an item such as ``jsonl data.train=b.jsonl`` as overrides of a trial."""
    try:
        option, *others = shlex.split(item)
    except ValueError:  # nothing, or a quote without its end
        raise InputError(
            f"sequence: {item!r} cannot be used: each item is an option of data=, such as builtin, "
            "perhaps with overrides: 'jsonl data.train=b.jsonl'."
        ) from None
    return [f"data={option}", *others]


def _labels(items: Sequence[str]) -> list[str]:
    """Return the names of the data sets, numbered if a name occurs several times."""
    names = [shlex.split(item)[0] for item in items]
    return [n if names.count(n) == 1 else f"{n} {place}" for place, n in enumerate(names, 1)]


def _report(folder: Path, reports: Path, labels: list[str], measurement: str, rows: Any) -> int:
    from rich.console import Console
    from rich.table import Table

    from harness.records import write_json
    from harness.reporting.formats.sequence_page import contents, summary, write

    data = {"tasks": labels, "measurement": measurement, "stages": rows}
    data["summary"] = summary(data)
    write_json(folder / "sequence.json", data)
    console = Console(highlight=False)
    for title, made in contents(data):
        table = Table(title=title, title_justify="left")
        for header, cell in zip(made.headers, made.rows[0], strict=True):
            table.add_column(header, justify="right" if cell.role == "number" else "left")
        for row in made.rows:
            table.add_row(*(cell.text for cell in row))
        console.print(table)
    console.print(str(write(folder.name, data, reports)))
    return 0
