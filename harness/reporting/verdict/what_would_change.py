"""Conditions that would change the recommendation: the rule run again under other conditions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.language import say
from harness.reporting import formatting as f
from harness.reporting.evidence.candidates import Candidate, CandidateSet
from harness.reporting.verdict.decision import Decision
from harness.reporting.verdict.rule import decide, spent
from harness.reporting.verdict.wording import cost_words, difference, estimate_text, named, numbers


def would_change(decision: Decision, candidates: CandidateSet) -> list[str]:
    """Run the rule again under other conditions and describe those that change the choice."""
    chosen, best = decision.chosen, decision.best
    lines = []
    if chosen is not None and best is not chosen:
        own = decision.standing(chosen).difference
        lines.append(
            say(
                "If forgetting and cost did not matter: {label}, {score} ({difference}).",
                label=best.label,
                score=named(candidates.quality, estimate_text(best.quality)),
                difference=difference(own, candidates, True),
            )
        )
    if chosen is not None:
        lines += _tighter(decision, chosen, candidates)
    lifted = decide([without_problems(c) for c in candidates.members], candidates, draws=0)
    other = lifted.chosen if lifted is not None else None
    if other is not None and (chosen is None or other.label != chosen.label):
        problems = "; ".join(problems_of(candidates, other.label))
        condition = say("If its problem did not matter ({problems})", problems=problems)
        if (
            not problems
        ):  # an excluded candidate would be the best, which the others are compared with
            out = f.joined([c.label for c in candidates.members if c.problems])
            condition = say("If the excluded candidates ({out}) still counted as the best", out=out)
        lines.append(f"{condition}: {other.label}, {numbers(other)}.")
    if chosen is None:
        return lines
    return lines or [say("None of the other conditions tried here changes the choice.")]


def _tighter(decision: Decision, chosen: Candidate, candidates: CandidateSet) -> list[str]:
    """Describe the choice under a limit just below the chosen one's forgetting, memory or time."""
    lines = []
    mark = chosen.forgetting
    if mark is not None:
        alike = [c.forgetting.value for c in decision.calm if c.forgetting]
        limit = min(
            [*alike, mark.value]
        )  # a limit between those alike would not be a reason to change
        less = [c for c in candidates.members if c.forgetting and c.forgetting.value < limit]
        other = _chosen_of(less, candidates)
        if other is not None:
            lines.append(
                say(
                    "If forgetting had to stay below {limit} {unit}: {label}, {numbers}.",
                    limit=f.score(mark.name, limit),
                    unit=f.unit(mark.name),
                    label=other.label,
                    numbers=numbers(other),
                )
            )
    for name in ("peak_memory_gb", "seconds"):
        words, write = cost_words(name)
        own = spent(chosen, name)
        if own is None:
            continue
        less = [
            c
            for c in candidates.members
            if (cost := spent(c, name)) is not None and cost < 0.95 * own
        ]
        other = _chosen_of(less, candidates)
        if other is not None:
            lines.append(
                say(
                    "If {words} had to stay below {limit}: {label}, {numbers}, {cost}.",
                    words=words,
                    limit=write(own),
                    label=other.label,
                    numbers=numbers(other),
                    cost=write(spent(other, name)),
                )
            )
    return lines


def _chosen_of(considered: Sequence[Candidate], candidates: CandidateSet) -> Candidate | None:
    decision = decide(considered, candidates, draws=0)
    return None if decision is None else decision.chosen


def without_problems(candidate: Candidate) -> Candidate:
    """Return the candidate without its problems, unless it was dropped as shown to be worse."""
    return candidate if candidate.dropped else replace(candidate, problems=())


def problems_of(candidates: CandidateSet, label: str) -> Sequence[str]:
    return next(c.problems for c in candidates.members if c.label == label)
