"""Search trials that are better than the recommended candidate in quality and forgetting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.records import Record
from harness.reporting.evidence.candidates import Candidate, CandidateSet
from harness.reporting.evidence.comparable import how_measured
from harness.reporting.evidence.estimates import estimate
from harness.reporting.evidence.folders.run_folder import FinishedTrial, SweepRecords
from harness.reporting.evidence.problems import problems
from harness.statistics.measurements.names import TEST, VALIDATION
from harness.statistics.pareto import as_losses, front

Scored = tuple[FinishedTrial, tuple[float, float]]  # with its quality and forgetting


@dataclass(frozen=True)
class Dominating:
    """Trials at least as good in both measurements, and better in one; the best in quality first."""

    names: tuple[str, str]  # quality and forgetting, as the search measured them
    own: tuple[float, float]  # values of the recommended candidate
    trials: tuple[Scored, ...]
    same_texts: bool  # its values are those of its own search trial: the same texts, one seed
    searched: bool  # the search tried the recommended configuration too


def dominating(run: SweepRecords, candidates: CandidateSet, chosen: Candidate) -> Dominating | None:
    """Return the search trials that dominate the choice; None if there are none.

    They are compared with its own search trial, which was measured on the same texts. If none is
    better than that, they are compared with its final scores, beside which the front shows them.
    Trials of candidates are not among them, because these have scores of their own, and neither are
    trials that break a limit.
    """
    quality, forgetting = chosen.quality, chosen.forgetting
    if quality is None or forgetting is None or not candidates.confirmed:
        return None
    names = (candidates.quality.replace(TEST, VALIDATION, 1), forgetting.name)
    if names[0] == names[1]:  # a search for little forgetting alone
        return None
    known = {(c.method, c.configuration) for c in candidates.members}
    first, others = None, []
    for row in run.rows:
        values = _values(row.record, names)
        if row.record.stage == "search" and values is not None:
            if (row.record.method, row.record.configuration) not in known:
                others.append((row, values))
            elif _is_of(row.record, chosen):
                first = (row, values)

    def better(others: Sequence[Scored], own: tuple[float, float]) -> tuple[Scored, ...]:
        ways = ("maximize" if candidates.maximize else "minimize", "minimize")
        found = [(row, values) for row, values in others if front([own, values], ways) == [1]]
        found = [(row, values) for row, values in found if not _excluded(run, row, names[1])]
        return tuple(sorted(found, key=lambda one: tuple(as_losses([one[1]], ways)[0])))

    if first is not None:
        alike = [o for o in others if _ways(o[0].record, names) == _ways(first[0].record, names)]
        if found := better(alike, first[1]):
            return Dominating(names, first[1], found, True, True)
    final = (quality.value, forgetting.value)
    found = better(others, final)
    return Dominating(names, final, found, False, first is not None) if found else None


def _is_of(record: Record, chosen: Candidate) -> bool:
    return (record.method, record.configuration) == (chosen.method, chosen.configuration)


def _values(record: Record, names: tuple[str, str]) -> tuple[float, float] | None:
    """Return both values of a complete trial; those of other trials are not comparable."""
    quality, forgetting = (record.value(name) for name in names)
    if record.status != "complete" or quality is None or forgetting is None:
        return None
    return quality, forgetting


def _ways(record: Record, names: tuple[str, str]) -> list[str]:
    return [how_measured(record.measurements[name]) for name in names]


def _excluded(run: SweepRecords, row: FinishedTrial, forgetting: str) -> bool:
    """Return True if the trial breaks a limit of the sweep."""
    found = estimate(forgetting, [row], {})
    return bool(problems(run.sweep, [row], row.record.cost, found))
