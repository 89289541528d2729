"""The trial to export: the recommended configuration's, or one that was named."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import InputError, unknown
from harness.reporting.evidence.candidate_set import candidate_set
from harness.reporting.evidence.candidates import CandidateSet
from harness.reporting.evidence.commands import command
from harness.reporting.evidence.folders.run_folder import (
    FinishedTrial,
    SweepRecords,
    guessed_objectives,
    load_run,
)
from harness.reporting.verdict.next_steps import ADAPTER, has_model, kept_model
from harness.reporting.verdict.recommendation import Recommendation, recommend
from harness.statistics.measurements.names import TEST, VALIDATION

LISTED = 6  # trials that a message names


@dataclass(frozen=True)
class ChosenTrial:
    """A trial whose model was kept, and what its sweep says of it."""

    run: SweepRecords
    row: FinishedTrial
    why: str
    candidates: CandidateSet  # all candidates of the sweep
    recommendation: Recommendation

    @property
    def is_recommended(self) -> bool:
        chosen = self.recommendation.chosen
        return chosen is not None and self.row.folder in [row.folder for row in chosen.rows]

    @property
    def alone(self) -> CandidateSet:
        """The trial as the only candidate, for numbers of this one model."""
        sweep, measured = self.run.sweep, self.row.record.measurements
        names = [name.replace(VALIDATION, TEST, 1) for name, _ in sweep.objectives[:1]]
        names += [name for name, _ in sweep.objectives[:1]]
        if not any(name in measured for name in names):  # a trial by hand, beside others
            sweep = replace(sweep, objectives=guessed_objectives([self.row]))
        return candidate_set(replace(self.run, sweep=sweep, rows=(self.row,)))

    @property
    def run_name(self) -> str:
        """The name of the sweep's folder."""
        return self.row.folder.parents[2].resolve().name

    @property
    def adapter(self) -> Path:
        return self.row.folder / ADAPTER


def choose(folder: Path, trial: str | None) -> ChosenTrial:
    """Find the trial. ``folder`` is a sweep's, or a trial's own. Raises InputError."""
    if trial is None and (folder / "record.json").is_file() and folder.parents[1].name == "trials":
        folder, trial = folder.parents[2], f"{folder.parent.name}/{folder.name}"
    run = load_run(folder)
    candidates = candidate_set(run)
    recommendation = recommend(run, candidates)
    if trial is not None:
        row = _named(run, trial)
        return ChosenTrial(run, row, "named on the command line", candidates, recommendation)
    chosen = recommendation.chosen
    if chosen is None:
        said = " ".join([recommendation.headline, *recommendation.reasons[:1]])
        raise InputError(f"{folder}: {said} {_listing(run)}")
    kept = kept_model(chosen)
    if kept is None:
        raise InputError(
            f"{folder}: {chosen.label} is recommended, but no trial of it kept its model (trials of a "
            f"search do not). {_train_again(chosen.rows[0])}{_listing(run)}"
        )
    return ChosenTrial(run, kept.row, kept.why, candidates, recommendation)


def _named(run: SweepRecords, trial: str) -> FinishedTrial:
    """Return the one trial that ``trial`` names: a folder, METHOD/FINGERPRINT or its beginning."""
    path = Path(trial)
    named = path.parent if path.name == "record.json" else path
    text = "/".join(named.parts[-2:]) if len(named.parts) > 1 else trial
    found = [row for row in run.rows if _is_called(row, text)]
    if not found:
        known = [f"{row.record.method}/{row.folder.name}" for row in run.rows]
        shown = [_called(row) for row in run.rows if has_model(row)]
        raise unknown("trial", trial, known, shown)
    with_model = [row for row in found if has_model(row)]
    if len(with_model) == 1:  # of a method or a configuration: the finalist's
        found = with_model
    if len(found) > 1:
        several = ", ".join(_called(row) for row in found[:LISTED])
        raise InputError(f"{trial!r} names {len(found)} trials: {several}. Give more of one.")
    row = found[0]
    if row.record.status != "complete":
        raise InputError(f"{_called(row)} has no model to export: it is {row.record.status}.")
    if not has_model(row):
        raise InputError(
            f"{_called(row)} kept no model: {row.folder / ADAPTER} does not exist (trials of a search "
            f"keep none). {_train_again(row)}{_listing(run)}"
        )
    return row


def _train_again(row: FinishedTrial) -> str:
    """Return how to get a trial whose model is kept; '' for one that another tool made."""
    line = command(row.record)
    return "" if line is None else f"Train it again with `{line}`, and export what that prints. "


def _is_called(row: FinishedTrial, text: str) -> bool:
    own = row.folder.name
    return bool(text) and (
        own.startswith(text) or f"{row.folder.parent.name}/{own}".startswith(text)
    )


def _called(row: FinishedTrial) -> str:
    return f"{row.folder.parent.name}/{row.folder.name}"


def _listing(run: SweepRecords) -> str:
    kept = [f"{_called(row)} (seed {row.record.seed})" for row in run.rows if has_model(row)]
    if not kept:
        return "No trial here kept its model."
    more = f" and {len(kept) - LISTED} more" if len(kept) > LISTED else ""
    return f"To export a trial all the same, name it: {', '.join(kept[:LISTED])}{more}."
