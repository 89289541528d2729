"""Reasons why each of the other candidates was not chosen."""

from __future__ import annotations

from harness.language import say
from harness.reporting import formatting as f
from harness.reporting.evidence.base_scores import base_name
from harness.reporting.evidence.candidates import Candidate, CandidateSet
from harness.reporting.evidence.ranking import by_quality
from harness.reporting.verdict.contest import compare
from harness.reporting.verdict.decision import Decision
from harness.reporting.verdict.rule import spent
from harness.reporting.verdict.wording import (
    cost_words,
    difference,
    estimate_text,
    in_quality,
    shortfall,
)


def why_not(decision: Decision, candidates: CandidateSet) -> list[tuple[str, str]]:
    """Return (label, reason) of every candidate that was not chosen, best first."""
    lines = []
    for candidate in by_quality(candidates.members, candidates.maximize):
        if candidate is decision.chosen:
            continue
        if candidate.problems:
            lines.append((candidate.label, "; ".join(candidate.problems)))
        elif candidate.quality is None:
            lines.append(
                (candidate.label, say("{quality} was not measured", quality=candidates.quality))
            )
        elif decision.step == "few":
            lines.append((candidate.label, say("too few examples")))
        elif candidate not in decision.admissible:
            lines.append((candidate.label, _not_admitted(candidate, decision, candidates)))
        elif candidate not in decision.calm:
            lines.append((candidate.label, _forgets_more(candidate, decision)))
        else:
            words, write = cost_words(decision.cost_name or "seconds")
            cost = write(spent(candidate, decision.cost_name or "seconds"))
            lines.append(
                (
                    candidate.label,
                    say("equally good, but not cheaper ({words} {cost})", words=words, cost=cost),
                )
            )
    return lines


def _not_admitted(candidate: Candidate, decision: Decision, candidates: CandidateSet) -> str:
    standing = decision.standing(candidate)
    if standing.better_than_base is False:
        return say("not shown to be better than: {of}", of=base_name(candidates.quality))
    gap = difference(standing.difference, candidates)
    if standing.difference.different:
        return say("worse in quality: {gap}", gap=gap)
    if candidate is decision.best:
        bound = shortfall(standing, candidates)
        return say("highest score, but not shown to be within the margin: {bound}", bound=bound)
    margin = in_quality(candidates, decision.margin)
    return say(
        "a one-sided test does not exclude that it is more than {margin} below the best: {gap}",
        margin=margin,
        gap=gap,
    )


def _forgets_more(candidate: Candidate, decision: Decision) -> str:
    chosen, own = decision.chosen, candidate.forgetting
    assert chosen is not None
    if own is None or chosen.forgetting is None:
        return say("equal in quality, but its forgetting was not measured")
    text = say(
        "equal in quality, but forgets more: {estimate}", estimate=estimate_text(own, units=True)
    )
    found = compare(own, chosen.forgetting, [s.candidate.forgetting for s in decision.standings])
    if found is None:
        return text
    more = f.with_interval(own.name, found.difference, found.low, found.high, sign=True)
    return say("{text}, difference {more}", text=text, more=more)
