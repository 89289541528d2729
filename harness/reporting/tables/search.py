"""Tables of the trials: the status of each, and the command that runs it again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from harness.language import phrase, retold, say, say_each
from harness.records import STATUSES, Record
from harness.reporting import formatting as f
from harness.reporting.evidence.candidate_set import distinguishing
from harness.reporting.evidence.candidates import CandidateSet
from harness.reporting.evidence.commands import command
from harness.reporting.evidence.folders.run_folder import FinishedTrial, SweepRecords
from harness.reporting.evidence.searched.settings import final_score
from harness.reporting.table import Cell, Table
from harness.statistics.budget import best_of
from harness.statistics.pareto import hypervolume, reference_point

STAGES = (phrase("search"), phrase("confirm"), phrase("single"))


def budget_table(run: SweepRecords, objective: str, maximize: bool) -> Table:
    """Build one row for each method: the status of its trials, and the expected best of n."""
    search = [row.record for row in run.rows if row.record.stage != "confirm"]
    spent = [n for m in run.sweep.methods if (n := len(_scores(search, m, objective)))]
    least = min(spent, default=1)  # trials that every method has spent
    sizes = sorted({1, min(4, least), least})
    means = {
        method: {one.n: one.mean for one in best_of(scores, sizes, maximize)}
        for method in run.sweep.methods
        if (scores := _scores(search, method, objective))
    }
    sizes = [n for n in sizes if any(n in known for known in means.values())]
    headers = say_each("Method", "Trials", "Complete", "Pruned", "Infeasible", "Diverged", "Failed")
    headers += (*say_each("Time", "Best"), *(say("Expected best of {n}", n=n) for n in sizes))
    volumes, corner = _hypervolumes(run, search)
    headers += say_each("Hypervolume") * bool(volumes)
    rows = []
    for method in run.sweep.methods:
        own = [record for record in search if record.method == method]
        states = Counter(record.status for record in own)
        scores = _scores(search, method, objective)
        best = [f.score(objective, means.get(method, {}).get(n)) for n in sizes]
        seconds = [trial_seconds(record) for record in own]
        time = sum(s for s in seconds if s is not None) if any(seconds) else None
        known = [score for score in scores if score is not None]
        top = f.score(objective, (max if maximize else min)(known)) if known else f.MISSING
        counts = [str(states[s]) for s in STATUSES]
        values = [str(len(own)), *counts, f.duration(time), top, *best]
        values += [volumes.get(method, f.MISSING)] * bool(volumes)
        rows.append((Cell(method, "method"), *(Cell(value, "number") for value in values)))
    note = (
        say(
            "Scores are {objective} of complete trials. The expected best of n is the mean "
            "best of n of a method's trials (Dodge et al. 2019, unbiased form), as in the "
            "figure: pruned and failed trials count as spent without a score, and it is given "
            "where 95 % of the draws have a score. If the sampler learns from earlier trials, "
            "it describes this search and is no forecast.",
            objective=f.title(objective),
        )
        + corner
    )
    return Table(headers, tuple(rows), note)


def _hypervolumes(run: SweepRecords, search: Sequence[Record]) -> tuple[dict[str, str], str]:
    """Return the hypervolume that each method's trials cover in two objectives, and its definition.

    The reference point is that of all trials together, see ``reference_point``. Shares are relative to
    the volume that all methods cover together.
    """
    objectives = run.sweep.objectives[:2]
    names, ways = [name for name, _ in objectives], [way for _, way in objectives]
    points: dict[str, list[list[float]]] = {}
    for record in search:
        own = [final_score(record, name) for name in names]
        if len(names) == 2 and None not in own:
            points.setdefault(record.method, []).append([v for v in own if v is not None])
    together = [point for own in points.values() for point in own]
    if len(points) < 2:
        return {}, ""
    corner = reference_point(together, ways, _base(search, names, ways))
    whole = hypervolume(together, ways, corner)
    if whole <= 0:
        return {}, ""
    shares = {m: hypervolume(own, ways, corner) / whole for m, own in points.items()}
    said = say(
        " Hypervolume: the area of {first} and {second} that a method's trials "
        "dominate, as a share of what all methods dominate together. It is measured "
        "from a point a tenth beyond the worst of the front of all trials and the "
        "untouched base: {first_score} and {second_score}.",
        first=f.title(names[0]),
        second=f.title(names[1]),
        first_score=f.score(names[0], corner[0]),
        second_score=f.score(names[1], corner[1]),
    )
    return {method: f"{100 * share:.0f} %" for method, share in shares.items()}, said


def _base(
    search: Sequence[Record], names: Sequence[str], ways: Sequence[str]
) -> list[float | None]:
    """Return the base in each objective; of several bases the worst, None where it was not measured."""
    found: list[float | None] = []
    for name, way in zip(names, ways, strict=True):
        known = [value for r in search if r.base and (value := r.base_value(name)) is not None]
        worst = min if way == "maximize" else max
        found.append(worst(known) if known else None)
    return found


def _scores(records: Sequence[Record], method: str, name: str) -> list[float | None]:
    """Return the score of each trial that a method spent; None of one that did not complete."""
    return [final_score(record, name) for record in records if record.method == method]


def trial_seconds(record: Record) -> float | None:
    parts = [record.cost.get(f"{part}_seconds") for part in ("train", "evaluation", "overhead")]
    known = [part for part in parts if part is not None]
    return sum(known) if known else None


def search_table(run: SweepRecords, candidates: CandidateSet) -> Table:
    """Build the table of all search trials by method, in the order of their proposal."""
    objective = run.sweep.objectives[0][0] if run.sweep.objectives else candidates.quality
    names = [name for name, _ in run.sweep.objectives] or [objective]
    headers = (
        *say_each("Method", "Trial", "Settings", "Status"),
        *map(f.title, names),
        *say_each("Memory", "Time"),
    )
    stopped = any(_stopped(row.record) for row in run.rows)
    headers += say_each("Stopped") * stopped
    rows = []
    for method in run.sweep.methods:
        own = [r for r in run.rows if r.record.method == method and r.record.stage != "confirm"]
        paths = distinguishing(own)
        for row in own:
            record, values = row.record, row.settings
            settings = f.settings({p: values[p] for p in paths if p in values})
            cells = [Cell(method, "method"), Cell(str(record.trial), "number"), Cell(settings)]
            cells.append(Cell(say(record.status), "" if record.status == "complete" else "quiet"))
            cells += [
                Cell(f.measured(name, record.measurements.get(name)), "number") for name in names
            ]
            cells.append(Cell(f.gigabytes(record.cost.get("peak_memory_gb")), "number"))
            cells.append(Cell(f.duration(trial_seconds(record)), "number"))
            cells += [Cell(_stopped(record) or f.MISSING)] * stopped
            rows.append(tuple(cells))
    note = say("A pruned trial's values are those at the step where it was stopped.")
    if any(row.record.trained_in_pack for row in run.rows):
        note += say(
            " Trials that were trained together have shares of their time; memory is measured only in "
            "training alone."
        )
    if stopped:
        note += say(
            " Its rank is among the trials of its method that had reached the same "
            "evaluation, by all objectives that are measured during training."
        )
    return Table(headers, tuple(rows), note)


def _stopped(record: Record) -> str:
    """Describe rank and evaluation at which a trial was pruned; '' if not pruned or not recorded."""
    standing = record.provenance.get("pruned")
    if record.status != "pruned" or not isinstance(standing, dict):
        return ""
    rank, trials = standing.get("rank"), standing.get("trials")
    return say(
        "rank {rank} of {trials} at evaluation {evaluation}",
        rank=rank,
        trials=trials,
        evaluation=standing.get("evaluation"),
    )


def failures_table(run: SweepRecords) -> Table:
    """Build the table of trials that are not complete, with the reasons."""
    headers = say_each("Method", "Stage", "Trial", "Seed", "Status", "Reason")
    rows = [
        (
            Cell(row.record.method, "method"),
            Cell(say(row.record.stage)),
            Cell(str(row.record.trial), "number"),
            Cell(str(row.record.seed), "number"),
            Cell(say(row.record.status)),
            Cell(retold(row.record.reason) if row.record.reason else say("no reason recorded")),
        )
        for row in run.rows
        if row.record.status != "complete"
    ]
    return Table(headers, tuple(rows))


def commands(rows: Sequence[FinishedTrial]) -> list[tuple[str, str]]:
    """Return (trial, command) for every trial that a command runs again."""
    return [
        (
            say(
                "{method} · {stage} {trial} · seed {seed} · {status}",
                method=row.record.method,
                stage=say(row.record.stage),
                trial=row.record.trial,
                seed=row.record.seed,
                status=say(row.record.status),
            ),
            again,
        )
        for row in rows
        if (again := command(row.record)) is not None
    ]
