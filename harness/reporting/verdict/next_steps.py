"""Next steps with the recommended configuration, each with its command."""

from __future__ import annotations

import shlex
from typing import NamedTuple

from harness.language import say
from harness.reporting.evidence.candidates import Candidate
from harness.reporting.evidence.commands import command
from harness.reporting.evidence.folders.run_folder import SweepRecords
from harness.reporting.verdict.kept_model import ADAPTER, kept_model


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
