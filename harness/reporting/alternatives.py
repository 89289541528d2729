"""What would change the recommendation: the rule, run again on other conditions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.reporting import formatting as f
from harness.reporting.candidates import Candidate, Field
from harness.reporting.decision import Decision, decide
from harness.reporting.wording import COST_WORDS, difference, estimate_text, numbers


def would_change(decision: Decision, field: Field) -> list[str]:
    """The rule, run again on other conditions; only conditions that change the choice are named."""
    chosen, best = decision.chosen, decision.best
    lines = []
    if best is not chosen:
        own = next(t for t in decision.tested if t.candidate is chosen)
        lines.append(
            f"If forgetting and cost did not matter: {best.label}, "
            f"{estimate_text(best.quality)} {f.title(field.quality)} ({difference(own, field, True)})."
        )
    lines += _tighter(decision, field)
    lifted = decide([without_problems(c) for c in field.candidates], field)
    if lifted is not None and lifted.chosen.label != chosen.label:
        problems = "; ".join(problems_of(field, lifted.chosen.label))
        condition = f"If its problem did not matter ({problems})"
        if not problems:  # one that is ruled out would raise the bar for the others
            out = f.joined([c.label for c in field.candidates if c.problems])
            condition = f"If what is ruled out ({out}) still set the bar"
        lines.append(f"{condition}: {lifted.chosen.label}, {numbers(lifted.chosen)}.")
    return lines or ["Nothing that was measured: no other condition tried here changes the choice."]


def _tighter(decision: Decision, field: Field) -> list[str]:
    """What a limit just below the chosen one's forgetting, memory or time would lead to."""
    chosen, lines = decision.chosen, []
    mark = chosen.forgetting
    if mark is not None:
        tied = [c.forgetting.value for c in decision.forgetting_tied if c.forgetting]
        limit = min(tied)  # a limit between tied ones would not be a reason to change
        less = [c for c in field.candidates if c.forgetting and c.forgetting.value < limit]
        other = decide(less, field)
        if other is not None:
            lines.append(
                f"If forgetting had to stay below {f.score(mark.name, limit)} "
                f"{f.unit(mark.name)}: {other.chosen.label}, {numbers(other.chosen)}."
            )
    for name in ("peak_memory_gb", "train_seconds"):
        words, write = COST_WORDS[name]
        if name not in chosen.cost:
            continue
        limit = chosen.cost[name] * 0.95
        other = decide([c for c in field.candidates if c.cost.get(name, limit) < limit], field)
        if other is not None:
            lines.append(
                f"If {words} had to stay below {write(chosen.cost[name])}: {other.chosen.label}, "
                f"{numbers(other.chosen)}, {write(other.chosen.cost.get(name))}."
            )
    return lines


def without_problems(candidate: Candidate) -> Candidate:
    return replace(candidate, problems=())


def problems_of(field: Field, label: str) -> Sequence[str]:
    return next(c.problems for c in field.candidates if c.label == label)
