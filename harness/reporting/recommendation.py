"""The recommendation in plain words, with the numbers behind every sentence."""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.reporting import formatting as f
from harness.reporting.alternatives import problems_of, without_problems, would_change
from harness.reporting.candidates import Candidate, Field
from harness.reporting.cautions import cautions, unfinished
from harness.reporting.decision import Decision, by_quality, compare, decide, tells_nothing
from harness.reporting.load import Run
from harness.reporting.wording import COST_WORDS, difference, estimate_text, numbers
from harness.statistics.resampling import examples_needed, minimal_detectable_difference


@dataclass(frozen=True)
class Recommendation:
    """What to use and why; chosen is None where no candidate is feasible."""

    chosen: Candidate | None
    headline: str
    reasons: tuple[str, ...]
    runners_up: tuple[tuple[str, str], ...]  # (label, why not)
    would_change: tuple[str, ...]
    cautions: tuple[str, ...]
    decision: Decision | None
    detectable: float | None  # smallest true difference in quality found with 80 % power


def recommend(run: Run, field: Field) -> Recommendation:
    """Apply the rule to the candidates and say what it did."""
    decision = decide(field.candidates, field)
    if decision is None:
        return _nothing(run, field)
    if (why := tells_nothing(decision, field)) is not None:
        return replace(_nothing(run, field), reasons=(why,))
    detectable = _detectable(decision)
    return Recommendation(
        chosen=decision.chosen,
        headline=_headline(decision, field),
        reasons=tuple(_reasons(decision, field, detectable)),
        runners_up=tuple(_runners_up(decision, field)),
        would_change=tuple(would_change(decision, field)),
        cautions=tuple(cautions(run, field, decision)),
        decision=decision,
        detectable=detectable,
    )


def _nothing(run: Run, field: Field) -> Recommendation:
    if not run.rows:
        why = "No trial has finished yet."
    elif not any(row.record.status == "complete" for row in run.rows):
        why = f"None of the {len(run.rows)} trials completed. Their reasons are listed below."
    elif all(c.quality is None for c in field.candidates):
        why = f"No complete trial measured {field.quality}."
    else:
        why = "Every finalist breaks a limit or did not run through."
    changes = []
    lifted = decide([without_problems(c) for c in field.candidates], field)
    if lifted is not None:
        problems = "; ".join(problems_of(field, lifted.chosen.label))
        changes.append(
            f"If its problem did not matter ({problems}), the choice would be "
            f"{lifted.chosen.label}: {numbers(lifted.chosen)}."
        )
    return Recommendation(
        chosen=None,
        headline="No recommendation.",
        reasons=(why,),
        runners_up=tuple((c.label, "; ".join(c.problems)) for c in field.candidates if c.problems),
        would_change=tuple(changes),
        cautions=(*run.remarks, *field.remarks, *unfinished(run)),
        decision=None,
        detectable=None,
    )


def _headline(decision: Decision, field: Field) -> str:
    chosen = decision.chosen
    own = f.settings(chosen.settings)
    using = f"Use {chosen.method}" + (f" with {own}" if own else "")
    others = len(decision.tied) - 1
    if decision.step == "only":
        return f"{using}: the only candidate that can be recommended."
    if others == 0:
        return f"{using}: the best in {f.title(field.quality)}, and distinguishably so."
    tied = f"as good as the best in {f.title(field.quality)} as far as this data can tell"
    if decision.step == "forgetting":
        return f"{using}: {tied}, and it forgets least."
    if decision.step == "cost" and decision.cost_name:
        words = COST_WORDS[decision.cost_name][0]
        calm = ", no other forgets less," if chosen.forgetting is not None else ""
        return f"{using}: {tied}{calm} and it costs least ({words})."
    return f"{using}: {tied}."


def _reasons(decision: Decision, field: Field, detectable: float | None) -> list[str]:
    best, chosen = decision.best, decision.chosen
    reasons = []
    stage = "finalists" if field.confirmed else "search trials"
    feasible = 1 + len(decision.tested)
    n = best.quality.n if best.quality else None
    sample = f"{n} examples and " if n else ""
    seeds = len(best.rows)
    sample += f"{seeds} seed" + ("s" if seeds != 1 else "")
    reasons.append(
        f"Quality: of {feasible} feasible {stage}, {best.label} scores best: "
        f"{estimate_text(best.quality)} {f.title(field.quality)} ({sample})."
    )
    if len(decision.tied) > 1:
        names = [t.candidate.label for t in decision.tested if t.tied]
        text = f"In quality, {f.joined(names)} cannot be told from it"
        if best is not chosen:
            own = next(t for t in decision.tested if t.candidate is chosen)
            text += (
                f"; {chosen.label} scores {estimate_text(chosen.quality)}, {difference(own, field)}"
            )
        reasons.append(text + ".")
    elif decision.tested:
        nearest = decision.tested[0]
        reasons.append(
            f"The next, {nearest.candidate.label}, is distinguishably worse: "
            f"{difference(nearest, field)}."
        )
    reasons += _forgetting_reasons(decision, field)
    if decision.cost_name:
        words, write = COST_WORDS[decision.cost_name]
        costs = [
            f"{c.label} {write(c.cost.get(decision.cost_name))}" for c in decision.forgetting_tied
        ]
        reasons.append(f"Cost: among those, it has the least {words}: {f.joined(costs)}.")
    if detectable is not None and len(decision.tied) > 1:
        reasons.append(
            f"Power: with this data a true difference of about "
            f"{f.score(field.quality, detectable)} {f.title(field.quality)} would be found four "
            "times out of five." + _needed(decision, field)
        )
    return reasons


def _forgetting_reasons(decision: Decision, field: Field) -> list[str]:
    chosen, tied = decision.chosen, decision.tied
    if field.forgetting is None or chosen.forgetting is None:
        return ["Forgetting was not measured, so it played no part."]
    text = f"Forgetting: {chosen.label} moves {estimate_text(chosen.forgetting, units=True)}"
    if len(tied) == 1:
        return [text + " from the base; with no other tied in quality this did not decide."]
    if len(decision.forgetting_tied) > 1:
        names = [c.label for c in decision.forgetting_tied if c is not chosen]
        return [f"{text}; {f.joined(names)} cannot be told from it in this."]
    others = sorted(
        (c for c in tied if c is not chosen and c.forgetting is not None),
        key=lambda c: c.forgetting.value if c.forgetting else 0.0,
    )
    if not others:
        return [text + "; the others tied in quality have no forgetting measured."]
    lines = [f"{c.label} {estimate_text(c.forgetting)}" for c in others]
    return [f"{text}, the least of the {len(tied)} tied in quality: {f.joined(lines)}."]


def _runners_up(decision: Decision, field: Field) -> list[tuple[str, str]]:
    chosen, lines = decision.chosen, []
    for candidate in by_quality(field.candidates, field.maximize):
        if candidate is chosen:
            continue
        if candidate.problems:
            lines.append((candidate.label, "; ".join(candidate.problems)))
        elif candidate.quality is None:
            lines.append((candidate.label, f"{field.quality} was not measured"))
        elif candidate not in decision.tied:
            test = next(t for t in decision.tested if t.candidate is candidate)
            lines.append((candidate.label, f"worse in quality: {difference(test, field)}"))
        elif candidate not in decision.forgetting_tied:
            lines.append((candidate.label, _forgets_more(candidate, chosen)))
        else:
            words = COST_WORDS[decision.cost_name or "peak_memory_gb"]
            cost = words[1](candidate.cost.get(decision.cost_name or ""))
            lines.append((candidate.label, f"as good, but not cheaper ({words[0]} {cost})"))
    return lines


def _forgets_more(candidate: Candidate, chosen: Candidate) -> str:
    own = candidate.forgetting
    if own is None or chosen.forgetting is None:
        return "as good in quality, but its forgetting was not measured"
    text = f"as good in quality, but forgets more: {estimate_text(own, units=True)}"
    comparison = compare(own, chosen.forgetting)
    if comparison is None:
        return text
    more = f.with_interval(own.name, comparison.difference, comparison.low, comparison.high, True)
    return f"{text}, difference {more}"


def _detectable(decision: Decision) -> float | None:
    """From the comparison that mattered: the nearest rival of the best."""
    known = [t.comparison for t in decision.tested if t.comparison is not None]
    return minimal_detectable_difference(known[0].standard_error) if known else None


def _needed(decision: Decision, field: Field) -> str:
    """How many examples the difference to the nearest rival would take."""
    nearest = next((t.comparison for t in decision.tested if t.comparison is not None), None)
    n = decision.best.quality.n if decision.best.quality else None
    if nearest is None or n is None or nearest.difference == 0 or nearest.standard_error == 0:
        return ""
    needed = examples_needed(abs(nearest.difference), nearest.standard_error, n)
    seen = f.score(field.quality, abs(nearest.difference))
    return (
        f" To show the difference of {seen} that is seen between the best two, about {needed:,} "
        f"examples would be needed instead of {n:,}, as far as examples and not seeds cause the spread."
    )
