"""Next steps with the recommended configuration: the export of a kept model, and training again.

The model that is handed on is that of one seed, chosen on validation texts.
"""

from __future__ import annotations

import shlex
from typing import NamedTuple

from harness.language import say
from harness.records import read_jsonl
from harness.reporting import formatting as f
from harness.reporting.evidence.candidates import Candidate
from harness.reporting.evidence.commands import command
from harness.reporting.evidence.folders.run_folder import FinishedTrial, SweepRecords
from harness.statistics.measurements.names import VALIDATION_LOSS, VALIDATION_PERPLEXITY

ADAPTER = "adapter"  # folder of a trial that kept its model
WATCHED = (VALIDATION_PERPLEXITY, VALIDATION_LOSS)  # of classes there is the loss alone


class NextStep(NamedTuple):
    """A sentence that ends with a colon, and the command line that it is about."""

    what: str
    command: str


def next_steps(run: SweepRecords, chosen: Candidate | None) -> list[NextStep]:
    """Return the export of the model, where one was kept, and its training again."""
    if chosen is None:
        return []
    steps = []
    kept = kept_model(chosen)
    if kept is not None:
        folder = kept.row.folder
        sweep = folder.parents[2]
        words = ["python", "-m", "harness.export", str(sweep)]
        if any(row.folder.parents[2] != sweep for row in run.rows):  # several sweeps in one report
            words.append(f"{folder.parent.name}/{folder.name}")
        what = say(
            "Export the model (seed {seed}, in {folder}) with its card:",
            seed=kept.row.record.seed,
            folder=folder / ADAPTER,
        )
        steps.append(NextStep(what, shlex.join(words)))
    again = command(chosen.rows[0].record)
    if again is not None:
        steps.append(NextStep(say("Train it again:"), again))
    return steps


class KeptModel(NamedTuple):
    """A trial whose model was kept, and the reason for this one."""

    row: FinishedTrial
    why: str


def has_model(row: FinishedTrial) -> bool:
    """Return whether it is a trial of ours that completed and kept its adapter or model."""
    ours = len(row.folder.parts) > 3 and row.folder.parents[1].name == "trials"
    return ours and row.record.status == "complete" and (row.folder / ADAPTER).is_dir()


def kept_model(candidate: Candidate) -> KeptModel | None:
    """Return the seed with the best validation value in training; None if no model was kept.

    Of finalists the test split is measured too. It has no part in this, so that the test score of the
    model that is handed on is not the best of several.
    """
    rows = sorted((row for row in candidate.rows if has_model(row)), key=lambda r: r.record.seed)
    if not rows:
        return None
    seeds = f.joined([str(row.record.seed) for row in rows])
    if len(rows) == 1:
        one = say("the only one whose model was kept")
        if len(candidate.rows) > 1:
            one += say(" (a sweep keeps the first seed of each finalist, whatever it scores)")
        return KeptModel(rows[0], say("seed {seeds}: {one}", seeds=seeds, one=one))
    for name in WATCHED:
        values = [validation_value(row, name) for row in rows]
        known = [value for value in values if value is not None]
        if len(known) == len(rows):
            best = known.index(min(known))
            told = f.joined([f.score(name, value) for value in known])
            why = say(
                "seed {seed}: of the seeds {seeds} it has the lowest {name} in training "
                "({told}); the test split had no part in this",
                seed=rows[best].record.seed,
                seeds=seeds,
                name=f.title(name),
                told=told,
            )
            return KeptModel(rows[best], why)
    why = say(
        "seed {seed}: the first of {seeds}; no validation value tells them apart",
        seed=rows[0].record.seed,
        seeds=seeds,
    )
    return KeptModel(rows[0], why)


def validation_value(row: FinishedTrial, name: str) -> float | None:
    """Return what was watched last in training, or at the selected step; None where nothing was."""
    selected = row.record.provenance.get("selected") or {}
    if isinstance(selected.get(name), int | float):
        return float(selected[name])
    found = None
    for curve in read_jsonl(row.folder / "metrics.jsonl"):
        if isinstance(curve, dict) and curve.get("kind") == "evaluation" and not curve.get("final"):
            values = curve.get("measurements")
            value = values.get(name) if isinstance(values, dict) else None
            found = float(value) if isinstance(value, int | float) else found
    return found
