"""Join of several sweeps into one report, if they are comparable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from harness.errors import InputError
from harness.language import say
from harness.reporting.evidence.comparable import how_measured
from harness.reporting.evidence.folders.run_folder import FinishedTrial, SweepRecords, SweepSettings
from harness.reporting.evidence.race_file import Race

__all__ = ["join"]


def join(runs: Sequence[SweepRecords], name: str) -> SweepRecords:
    """Return one run with the trials of all ``runs``; a trial that several of them have counts once.

    Raises InputError where they differ in data, base model, objectives, margin or signatures, or
    where two of them ran on a budget: how often their finalists were compared adds up to no one race.
    """
    first, *others = runs
    for other in others:
        _check_alike(first, other)
    rows: dict[tuple[str, str], FinishedTrial] = {}
    for run in runs:
        for row in run.rows:
            rows.setdefault((row.record.method, row.record.fingerprint), row)
    remarks = [f"{run.sweep.name}: {remark}" for run in runs for remark in run.remarks]
    repeated = sum(len(run.rows) for run in runs) - len(rows)
    if repeated:
        remarks.append(
            say(
                "{repeated} trials are in more than one of the sweeps and count once.",
                repeated=repeated,
            )
        )
    return SweepRecords(
        sweep=_joined_sweep([run.sweep for run in runs], name, remarks),
        rows=tuple(rows.values()),
        unfinished=sum(run.unfinished for run in runs),
        remarks=tuple(remarks),
        footprints={m: found for run in runs for m, found in run.footprints.items()},
        race=next((run.race for run in runs if run.race.rounds), Race()),
    )


def _joined_sweep(sweeps: Sequence[SweepSettings], name: str, remarks: list[str]) -> SweepSettings:
    """Return the settings that the sweeps share; ``remarks`` say where their effort differed."""
    first = sweeps[0]
    for what in ("search", "confirm"):
        if any(getattr(sweep, what) != getattr(first, what) for sweep in sweeps):
            efforts = "; ".join(f"{s.name}: {_effort(getattr(s, what))}" for s in sweeps)
            remarks.append(
                say(
                    "The sweeps differ in {what}, so methods had no equal budget ({efforts}).",
                    what=what,
                    efforts=efforts,
                )
            )
    methods = dict.fromkeys(method for sweep in sweeps for method in sweep.methods)
    twice = [m for m in methods if sum(m in sweep.methods for sweep in sweeps) > 1]
    if twice:
        remarks.append(
            say("Searched in more than one of the sweeps: {twice}.", twice=", ".join(twice))
        )
    limits = {
        key: min(s.limits[key] for s in sweeps if key in s.limits)
        for s in sweeps
        for key in s.limits
    }
    dates = [sweep.created for sweep in sweeps if sweep.created]
    return replace(
        first,
        name=name,
        command=" ; ".join(sweep.command for sweep in sweeps if sweep.command) or None,
        methods=tuple(methods),
        limits=limits,
        created=max(dates, default=None),
    )


def _effort(settings: Any) -> str:
    return ", ".join(
        f"{key}={value}" for key, value in settings.items() if value not in (None, [], ())
    )


def _check_alike(one: SweepRecords, other: SweepRecords) -> None:
    """Raise InputError for the first thing in which two runs may not be joined."""
    names = f"{one.sweep.name} and {other.sweep.name} cannot be joined"
    for what, get in _ALIKE.items():
        here, there = get(one), get(other)
        if here and there and not here & there:
            raise InputError(
                f"{names}: they differ in {what} ({_short(here)} and {_short(there)})."
            )
    if one.race.rounds and other.race.rounds:
        raise InputError(
            f"{names}: both ran on a budget=, and their comparisons add up to no one race."
        )
    here, there = _signatures(one), _signatures(other)
    for measured in sorted(here.keys() & there.keys()):
        if not here[measured] & there[measured]:
            raise InputError(
                f"{names}: {measured} was measured in different ways ({_short(here[measured])} and "
                f"{_short(there[measured])})."
            )


def _seen(run: SweepRecords, part: str, *keys: str) -> set[str]:
    """Return the values that the records' provenance has for the first of ``keys`` that it knows."""
    found = [row.record.provenance.get(part) or {} for row in run.rows]
    values = [next((each[key] for key in keys if each.get(key)), None) for each in found]
    return {str(value) for value in values if value is not None}


def _signatures(run: SweepRecords) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in run.rows:
        for name, measured in row.record.measurements.items():
            found.setdefault(name, set()).add(how_measured(measured))
    return found


# What must agree, each as the set of its values: variants of one sweep may have several bases.
_ALIKE: dict[str, Callable[[SweepRecords], set[str]]] = {
    "objectives": lambda run: {", ".join(map(" ".join, run.sweep.objectives))},
    "confirm.margin": lambda run: {str(run.sweep.confirm.get("margin"))},
    "data": lambda run: _seen(run, "data", "fingerprint"),
    "base model": lambda run: _seen(run, "model", "stored_fingerprint", "sha"),
}


def _short(values: set[str]) -> str:
    """Return the values in a message, fingerprints by their beginning."""
    return " or ".join(sorted(text if " " in text or "|" in text else text[:12] for text in values))
