"""Conditions that would change the recommendation: the rule run again under other conditions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.reporting import formatting as f
from harness.reporting.evidence.candidates import Candidate, CandidateSet
from harness.reporting.verdict.rule import Decision, decide, spent
from harness.reporting.verdict.wording import COST_WORDS, difference, estimate_text, numbers


def would_change(decision: Decision, field: CandidateSet) -> list[str]:
    """Run the rule again under other conditions and describe those that change the choice."""
    chosen, best = decision.chosen, decision.best
    lines = []
    if chosen is not None and best is not chosen:
        own = decision.standing(chosen).difference
        lines.append(
            f"If forgetting and cost did not matter: {best.label}, "
            f"{estimate_text(best.quality)} {f.title(field.quality)} ({difference(own, field, True)})."
        )
    if chosen is not None:
        lines += _tighter(decision, chosen, field)
    lifted = decide([without_problems(c) for c in field.candidates], field, draws=0)
    other = lifted.chosen if lifted is not None else None
    if other is not None and (chosen is None or other.label != chosen.label):
        problems = "; ".join(problems_of(field, other.label))
        condition = f"If its problem did not matter ({problems})"
        if not problems:  # one that is ruled out would raise the bar for the others
            out = f.joined([c.label for c in field.candidates if c.problems])
            condition = f"If the excluded candidates ({out}) still counted as the best"
        lines.append(f"{condition}: {other.label}, {numbers(other)}.")
    if chosen is None:
        return lines
    return lines or ["None of the other conditions tried here changes the choice."]


def _tighter(decision: Decision, chosen: Candidate, field: CandidateSet) -> list[str]:
    """Describe the choice under a limit just below the chosen one's forgetting, memory or time."""
    lines = []
    mark = chosen.forgetting
    if mark is not None:
        alike = [c.forgetting.value for c in decision.calm if c.forgetting]
        limit = min(
            [*alike, mark.value]
        )  # a limit between those alike would not be a reason to change
        less = [c for c in field.candidates if c.forgetting and c.forgetting.value < limit]
        other = _chosen_of(less, field)
        if other is not None:
            lines.append(
                f"If forgetting had to stay below {f.score(mark.name, limit)} "
                f"{f.unit(mark.name)}: {other.label}, {numbers(other)}."
            )
    for name in ("peak_memory_gb", "seconds"):
        words, write = COST_WORDS[name]
        own = spent(chosen, name)
        if own is None:
            continue
        less = [
            c
            for c in field.candidates
            if (cost := spent(c, name)) is not None and cost < 0.95 * own
        ]
        other = _chosen_of(less, field)
        if other is not None:
            lines.append(
                f"If {words} had to stay below {write(own)}: {other.label}, "
                f"{numbers(other)}, {write(spent(other, name))}."
            )
    return lines


def _chosen_of(candidates: Sequence[Candidate], field: CandidateSet) -> Candidate | None:
    decision = decide(candidates, field, draws=0)
    return None if decision is None else decision.chosen


def without_problems(candidate: Candidate) -> Candidate:
    """Lift what rules a candidate out, unless it is that it was shown to be worse."""
    return candidate if candidate.dropped else replace(candidate, problems=())


def problems_of(field: CandidateSet, label: str) -> Sequence[str]:
    return next(c.problems for c in field.candidates if c.label == label)
