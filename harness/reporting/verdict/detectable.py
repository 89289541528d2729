"""Differences that the data can detect, and the gain from more items or more seeds."""

from __future__ import annotations

from harness.language import say
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
    text = say(
        "Power: a true difference of about {found} between the best two would be found "
        "four times out of five.",
        found=found,
    )
    if not decision.tested:
        return [
            say(
                "{text} The spread between seeds is unknown and not included (confirm.seeds=3).",
                text=text,
            )
        ]
    if n is None or decision.margin <= 0:
        return [text]
    parts = say(
        "{percent:.0f} % of the error's variance comes from seeds",
        percent=100 * error.seeds**2 / error.total**2,
    )
    asked = needed(decision.margin, error, n, len(best.rows))
    advice = _advice(asked, n, best, decision, candidates)
    return [
        say(
            "{text} The limiting factor is the number of test examples: {parts}. {advice}"
            if asked.binding == "items"
            else "{text} The limiting factor is the number of seeds: {parts}. {advice}",
            text=text,
            parts=parts,
            advice=advice,
        )
    ]


def _advice(asked: Needed, n: int, best, decision: Decision, candidates: CandidateSet) -> str:
    seeds = len(best.rows)
    if asked.items == n and asked.seeds == seeds:
        return say("A difference as large as the margin can be detected.")
    by_items, by_seeds = say("no number of test examples"), say("no number of seeds")
    if asked.items:
        by_items = say("about {needed:,} test examples instead of {n:,}", needed=asked.items, n=n)
    if asked.seeds:
        by_seeds = say(
            "about {needed:,} seeds a candidate instead of {seeds}", needed=asked.seeds, seeds=seeds
        )
    options = [(by_items, asked.items), (by_seeds, asked.seeds)]
    (first, enough), (second, also) = options if asked.binding == "items" else options[::-1]
    to_find = say(
        "To detect a difference of the margin, {margin},",
        margin=in_quality(candidates, decision.margin),
    )
    if enough is None and also is None:
        return say("{to_find} both must grow: neither is enough alone.", to_find=to_find)
    if not enough:
        return say(
            "{to_find} {first} alone is enough, but {second} would be.",
            to_find=to_find,
            first=first,
            second=second,
        )
    if not also:
        return say(
            "{to_find} use {first}; {second} alone is enough.",
            to_find=to_find,
            first=first,
            second=second,
        )
    return say(
        "{to_find} use {first}. Alternatively, {second}.",
        to_find=to_find,
        first=first,
        second=second,
    )


def _error(decision: Decision) -> Error | None:
    """Return the error of the most important comparison: the best against its nearest rival."""
    if len(decision.standings) < 2:
        return None
    return decision.standings[1].difference.error
