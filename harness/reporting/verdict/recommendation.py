"""Recommendation in sentences, each with the numbers behind it."""

from __future__ import annotations

from dataclasses import dataclass

from harness.language import counted, say
from harness.reporting import formatting as f
from harness.reporting.evidence.candidates import Candidate, CandidateSet
from harness.reporting.evidence.folders.run_folder import SweepRecords
from harness.reporting.verdict.cautions import cautions, unfinished
from harness.reporting.verdict.decision import Decision
from harness.reporting.verdict.detectable import detectable_difference, power
from harness.reporting.verdict.in_words import headline, in_words
from harness.reporting.verdict.race import race_in_words
from harness.reporting.verdict.rule import decide, spent
from harness.reporting.verdict.what_would_change import problems_of, without_problems, would_change
from harness.reporting.verdict.why_not import blind_in_words, why_none, why_not
from harness.reporting.verdict.wording import (
    as_compared,
    cost_words,
    difference,
    estimate_text,
    in_quality,
    named,
    numbers,
    shortfall,
)


@dataclass(frozen=True)
class Recommendation:
    """Recommended configuration with reasons; chosen is None if none can be recommended."""

    chosen: Candidate | None
    headline: str
    meaning: tuple[str, ...]  # sentences on gain, loss and runner-up
    reasons: tuple[str, ...]
    runners_up: tuple[tuple[str, str], ...]  # (label, why not)
    would_change: tuple[str, ...]
    cautions: tuple[str, ...]
    decision: Decision | None
    detectable: float | None  # smallest true difference in quality found with 80 % power


def recommend(run: SweepRecords, candidates: CandidateSet) -> Recommendation:
    """Apply the rule to the candidates and explain the result."""
    decision = decide(candidates.members, candidates)
    if decision is None:
        return _nothing(run, candidates)
    chosen = decision.chosen is not None
    return Recommendation(
        chosen=decision.chosen,
        headline=headline(decision, candidates),
        meaning=tuple(in_words(decision, candidates)),
        reasons=(
            *(_reasons(decision, candidates) if chosen else why_none(decision, candidates)),
            *race_in_words(run, candidates),
        ),
        runners_up=tuple(why_not(decision, candidates)),
        would_change=tuple(would_change(decision, candidates)),
        cautions=tuple(cautions(run, candidates, decision)),
        decision=decision,
        detectable=detectable_difference(decision),
    )


def _nothing(run: SweepRecords, candidates: CandidateSet) -> Recommendation:
    if not run.rows:
        why = say("No trial has finished yet.")
    elif not any(row.record.status == "complete" for row in run.rows):
        why = say(
            "None of the {trials} trials completed. Their reasons are listed below.",
            trials=len(run.rows),
        )
    elif all(c.quality is None for c in candidates.members):
        why = say("No complete trial measured {quality}.", quality=candidates.quality)
    else:
        why = say("Every finalist exceeds a limit or did not complete.")
    changes = []
    lifted = decide([without_problems(c) for c in candidates.members], candidates)
    if lifted is not None and lifted.chosen is not None:
        problems = "; ".join(problems_of(candidates, lifted.chosen.label))
        changes.append(
            say(
                "If its problem did not matter ({problems}), the choice would be {label}: "
                "{numbers}.",
                problems=problems,
                label=lifted.chosen.label,
                numbers=numbers(lifted.chosen),
            )
        )
    return Recommendation(
        chosen=None,
        headline=say("No recommendation."),
        meaning=(),
        reasons=(why,),
        runners_up=tuple(
            (c.label, "; ".join(c.problems)) for c in candidates.members if c.problems
        ),
        would_change=tuple(changes),
        cautions=(*run.remarks, *candidates.remarks, *unfinished(run)),
        decision=None,
        detectable=None,
    )


def _reasons(decision: Decision, candidates: CandidateSet) -> list[str]:
    best, chosen = decision.best, decision.chosen
    assert chosen is not None
    n = best.quality.n if best.quality else None
    seeds = len(best.rows)
    sample = counted(seeds, "{n} seed", "{n} seeds")
    if n:
        sample = say("{n} examples and {seeds}", n=n, seeds=sample)
    reasons = [
        say(
            "Quality: of {n} feasible finalists, {label} scores best: {score} ({sample})."
            if candidates.confirmed
            else "Quality: of {n} feasible search trials, {label} scores best: {score} ({sample}).",
            n=len(decision.standings),
            label=best.label,
            score=named(candidates.quality, estimate_text(best.quality)),
            sample=sample,
        )
    ]
    if candidates.blind is not None:
        reasons.append(blind_in_words(candidates))
    if len(decision.standings) > 1:
        reasons.append(_margin(decision, candidates))
    worse = [s for s in decision.standings if s.difference.different]
    if worse:
        nearest = worse[0]
        reasons.append(
            say(
                "{label} is significantly worse than the best: {difference}.",
                label=nearest.candidate.label,
                difference=difference(nearest.difference, candidates),
            )
        )
    reasons += _forgetting_reasons(decision, candidates)
    if decision.cost_name:
        words, write = cost_words(decision.cost_name)
        costs = [f"{c.label} {write(spent(c, decision.cost_name))}" for c in decision.calm]
        reasons.append(
            say(
                "Cost: among these, it has the least {words}: {costs}.",
                words=words,
                costs=f.joined(costs),
            )
        )
    if decision.stability is not None:
        others = [
            f"{label} {100 * share:.0f} %"
            for label, share in decision.choices
            if label != chosen.label
        ]
        text = say(
            "Stability: when items and seeds are resampled, the rule makes the same choice "
            "in {percent:.0f} % of the draws",
            percent=100 * decision.stability,
        )
        listed = say(", ").join(others[:3])
        reasons.append(
            say("{text} ({listed}).", text=text, listed=listed)
            if others
            else say("{text}.", text=text)
        )
    return reasons + power(decision, candidates)


def _margin(decision: Decision, candidates: CandidateSet) -> str:
    """Describe the result within the margin, and the choices that other margins lead to."""
    stated = (
        say("as configured (confirm.margin)")
        if candidates.margin is not None
        else say("the default of this metric")
    )
    margin = in_quality(candidates, decision.margin)
    text = say(
        "Margin: {margin} below the best counts as equally good, {stated}. ",
        margin=margin,
        stated=stated,
    )
    if not decision.tested:
        return text + say(
            "With one seed per candidate the spread between seeds is unknown: untested."
        )
    if decision.admissible:
        bounds = [
            f"{c.label} ({shortfall(decision.standing(c), candidates)})"
            for c in decision.admissible
        ]
        text += say("Within it with 95 % confidence: {bounds}.", bounds=f.joined(bounds))
    elif any(standing.shortfall <= decision.margin for standing in decision.standings):
        text += say(
            "No candidate that is shown to be better than the base is shown to be within it."
        )
    else:
        text += say("No candidate is shown to be within it.")
    turns = [
        say(
            "from {limit} on, {label}",
            limit=f.score(as_compared(candidates.quality), limit),
            label=candidate.label,
        )
        for limit, candidate in decision.other_margins
        if not decision.standing(candidate).difference.different
    ]
    if turns and (len(turns) > 1 or not decision.admissible):
        text += say(" At other margins the choice would be: {turns}.", turns="; ".join(turns))
    return text


def _forgetting_reasons(decision: Decision, candidates: CandidateSet) -> list[str]:
    chosen = decision.chosen
    assert chosen is not None
    if candidates.forgetting is None or chosen.forgetting is None:
        return [say("Forgetting was not measured, so it was not considered.")]
    moved = estimate_text(chosen.forgetting, units=True)
    text = say("Forgetting: {label} moves {moved} from the base", label=chosen.label, moved=moved)
    if len(decision.admissible) < 2:
        return [
            say(
                "{text}. No other candidate is shown to be as good, so this did not decide.",
                text=text,
            )
        ]
    if len(decision.calm) > 1:
        names = [c.label for c in decision.calm if c is not chosen]
        return [
            say(
                "{text}. {names} forgets equally little, within 10 %."
                if len(names) == 1
                else "{text}. {names} forget equally little, within 10 %.",
                text=text,
                names=f.joined(names),
            )
        ]
    others = sorted(
        (c for c in decision.admissible if c is not chosen and c.forgetting is not None),
        key=lambda c: c.forgetting.value if c.forgetting else 0.0,
    )
    if not others:
        return [text + say(". For the others within the margin it was not measured.")]
    lines = [f"{c.label} {estimate_text(c.forgetting)}" for c in others]
    return [
        say(
            "{text}, the least of the {n} within the margin: {lines}.",
            text=text,
            n=len(decision.admissible),
            lines=f.joined(lines),
        )
    ]
