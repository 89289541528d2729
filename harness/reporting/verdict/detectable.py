"""Differences that the data can detect, and the gain from more items or more seeds."""

from __future__ import annotations

from harness.reporting.evidence.candidates import CandidateSet
from harness.reporting.verdict.decision import Decision
from harness.reporting.verdict.wording import in_quality
from harness.statistics.comparing.power import Needed, minimal_detectable_difference, needed
from harness.statistics.comparing.standard_errors import Error


def detectable_difference(decision: Decision) -> float | None:
    """Return the true difference between the best and its nearest rival found in 4 of 5 sweeps."""
    error = _error(decision)
    return None if error is None else minimal_detectable_difference(error.total)


def power(decision: Decision, candidates: CandidateSet) -> list[str]:
    """Describe the detectable difference, its sources of error and the data needed for the margin."""
    error, best = _error(decision), decision.best
    n = best.quality.n if best.quality is not None else None
    if error is None or error.total == 0:
        return []
    found = in_quality(candidates, minimal_detectable_difference(error.total))
    text = (
        f"Power: a true difference of about {found} between the best two would be found four times "
        "out of five."
    )
    if not decision.tested:
        return [f"{text} The spread between seeds is unknown and not included (confirm.seeds=3)."]
    if n is None or decision.margin <= 0:
        return [text]
    parts = (
        f"{100 * error.seeds**2 / error.total**2:.0f} % of the error's variance comes from seeds"
    )
    asked = needed(decision.margin, error, n, len(best.rows))
    advice = _advice(asked, n, best, decision, candidates)
    return [f"{text} The limiting factor is the number of {_bound(asked)}: {parts}. {advice}"]


def _bound(asked: Needed) -> str:
    return "test examples" if asked.binding == "items" else "seeds"


def _advice(asked: Needed, n: int, best, decision: Decision, candidates: CandidateSet) -> str:
    seeds = len(best.rows)
    if asked.items == n and asked.seeds == seeds:
        return "A difference as large as the margin can be detected."
    by_items, by_seeds = "no number of test examples", "no number of seeds"
    if asked.items:
        by_items = f"about {asked.items:,} test examples instead of {n:,}"
    if asked.seeds:
        by_seeds = f"about {asked.seeds:,} seeds a candidate instead of {seeds}"
    first, second = (by_items, by_seeds) if asked.binding == "items" else (by_seeds, by_items)
    to_find = f"To detect a difference of the margin, {in_quality(candidates, decision.margin)},"
    if asked.items is None and asked.seeds is None:
        return f"{to_find} both must grow: neither is enough alone."
    if first.startswith("no number"):
        return f"{to_find} {first} alone is enough, but {second} would be."
    if second.startswith("no number"):
        return f"{to_find} use {first}; {second} alone is enough."
    return f"{to_find} use {first}. Alternatively, {second}."


def _error(decision: Decision) -> Error | None:
    """Return the error of the most important comparison: the best against its nearest rival."""
    if len(decision.standings) < 2:
        return None
    return decision.standings[1].difference.error
