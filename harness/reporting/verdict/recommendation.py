"""Recommendation in sentences, each with the numbers behind it."""

from __future__ import annotations

from dataclasses import dataclass

from harness.reporting import formatting as f
from harness.reporting.evidence.candidates import Candidate, CandidateSet
from harness.reporting.evidence.folders.run_folder import SweepRecords
from harness.reporting.verdict.cautions import cautions, unfinished
from harness.reporting.verdict.decision import Decision
from harness.reporting.verdict.detectable import detectable_difference, power
from harness.reporting.verdict.in_words import in_words
from harness.reporting.verdict.race import race_in_words
from harness.reporting.verdict.rule import decide, spent
from harness.reporting.verdict.what_would_change import problems_of, without_problems, would_change
from harness.reporting.verdict.why_not import why_not
from harness.reporting.verdict.wording import (
    COST_WORDS,
    as_compared,
    difference,
    estimate_text,
    in_quality,
    named,
    numbers,
    of_best,
    shortfall,
)
from harness.statistics.comparing.margins import FEWEST_ITEMS


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
        headline=_headline(decision, candidates),
        meaning=tuple(in_words(decision, candidates)),
        reasons=(
            *(_reasons(decision, candidates) if chosen else _why_none(decision, candidates)),
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
        why = "No trial has finished yet."
    elif not any(row.record.status == "complete" for row in run.rows):
        why = f"None of the {len(run.rows)} trials completed. Their reasons are listed below."
    elif all(c.quality is None for c in candidates.members):
        why = f"No complete trial measured {candidates.quality}."
    else:
        why = "Every finalist exceeds a limit or did not complete."
    changes = []
    lifted = decide([without_problems(c) for c in candidates.members], candidates)
    if lifted is not None and lifted.chosen is not None:
        problems = "; ".join(problems_of(candidates, lifted.chosen.label))
        changes.append(
            f"If its problem did not matter ({problems}), the choice would be "
            f"{lifted.chosen.label}: {numbers(lifted.chosen)}."
        )
    return Recommendation(
        chosen=None,
        headline="No recommendation.",
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


def _headline(decision: Decision, candidates: CandidateSet) -> str:
    chosen = decision.chosen
    if chosen is None:
        if decision.step == "few":
            return f"No recommendation: {_examples(decision)} are too few."
        if decision.step == "blind":
            return f"No recommendation: {f.title(candidates.quality)} does not separate the candidates."
        return "No recommendation: fine-tuning has not been shown to help."
    own = f.settings(chosen.settings)
    named_choice = chosen.method + (f" with {own}" if own else "")
    using = f"Use {named_choice}"
    if not candidates.confirmed:  # one seed, and the scores that chose it
        using = f"Confirm {named_choice} with new seeds before using it"
    title, within_best = f.prose_title(candidates.quality), of_best(candidates, decision.margin)
    if decision.step == "only":
        return f"{using}: the only candidate that can be recommended."
    if not decision.firm:
        now = " for now" if candidates.confirmed else ""
        return (
            f"{using}{now}: it scores best in {title}, but no candidate is shown to be within "
            f"{within_best}."
        )
    others = [s for s in decision.standings if s.candidate is not decision.best]
    if decision.step == "quality" and chosen is decision.best:
        if all(s.difference.different for s in others):
            return f"{using}: significantly better than every other candidate in {title}."
        # A one-sided test with a margin. A two-sided difference need not be significant beside it.
        return (
            f"{using}: it scores best in {title}, and for no other candidate does a one-sided test "
            f"against the best exclude a gap of more than {in_quality(candidates, decision.margin)}."
        )
    within = f"shown to be within {within_best}"
    if decision.step == "forgetting":
        return f"{using}: {within}, and it forgets least among these."
    if decision.step == "cost" and decision.cost_name:
        words = COST_WORDS[decision.cost_name][0]
        calm = ", none of these forgets less," if chosen.forgetting is not None else ""
        return f"{using}: {within}{calm} and it costs least ({words})."
    return f"{using}: {within}."


def _examples(decision: Decision) -> str:
    n = decision.best.quality.n if decision.best.quality else None
    return "1 test example" if n == 1 else f"{n} test examples"


def _why_none(decision: Decision, candidates: CandidateSet) -> list[str]:
    best = decision.best
    if decision.step == "few":
        return [
            f"Quality was measured on {_examples(decision)}. Below {FEWEST_ITEMS}, neither an interval "
            "nor a difference is meaningful. Raise data.test_fraction or data.test_limit, or give a "
            "larger data.test. Separating methods takes a hundred examples or more."
        ]
    if decision.step == "blind":
        return [
            f"{f.title(candidates.quality)} is the same for all candidates, or near 0. No likelihood "
            "of the same texts was measured that could decide instead. Name another measurement in "
            "objectives."
        ]
    base = best.base.get(candidates.quality)
    quality = named(candidates.quality, estimate_text(best.quality))
    text = f"Quality: {best.label} scores best, {quality}"
    if base is not None:
        text += f"; the untouched base scores {f.score(candidates.quality, base.value)}"
    return [
        f"{text}. No candidate is shown to be better than its own base.",
        "To show a gain, try more training (training.max_steps or training.epochs), other learning "
        "rates, a more sensitive measurement (objectives={validation.bits_per_byte: minimize}) or "
        "more test examples.",
    ]


def _reasons(decision: Decision, candidates: CandidateSet) -> list[str]:
    best, chosen = decision.best, decision.chosen
    assert chosen is not None
    stage = "finalists" if candidates.confirmed else "search trials"
    n = best.quality.n if best.quality else None
    seeds = len(best.rows)
    sample = f"{n} examples and " if n else ""
    sample += f"{seeds} seed" + ("s" if seeds != 1 else "")
    reasons = [
        f"Quality: of {len(decision.standings)} feasible {stage}, {best.label} scores best: "
        f"{named(candidates.quality, estimate_text(best.quality))} ({sample})."
    ]
    if candidates.blind is not None:
        reasons.append(
            f"{f.title(candidates.blind)} does not separate the candidates: it is the same for all, or "
            f"near 0. {f.title(candidates.quality)} decides instead."
        )
    if len(decision.standings) > 1:
        reasons.append(_margin(decision, candidates))
    worse = [s for s in decision.standings if s.difference.different]
    if worse:
        nearest = worse[0]
        reasons.append(
            f"{nearest.candidate.label} is significantly worse than the best: "
            f"{difference(nearest.difference, candidates)}."
        )
    reasons += _forgetting_reasons(decision, candidates)
    if decision.cost_name:
        words, write = COST_WORDS[decision.cost_name]
        costs = [f"{c.label} {write(spent(c, decision.cost_name))}" for c in decision.calm]
        reasons.append(f"Cost: among these, it has the least {words}: {f.joined(costs)}.")
    if decision.stability is not None:
        others = [
            f"{label} {100 * share:.0f} %"
            for label, share in decision.choices
            if label != chosen.label
        ]
        text = (
            f"Stability: when items and seeds are resampled, the rule makes the same choice in "
            f"{100 * decision.stability:.0f} % of the draws"
        )
        reasons.append(text + (f" ({', '.join(others[:3])})." if others else "."))
    return reasons + power(decision, candidates)


def _margin(decision: Decision, candidates: CandidateSet) -> str:
    """Describe the result within the margin, and the choices that other margins lead to."""
    stated = (
        "as configured (confirm.margin)"
        if candidates.margin is not None
        else "the default of this metric"
    )
    margin = in_quality(candidates, decision.margin)
    text = f"Margin: {margin} below the best counts as equally good, {stated}. "
    if not decision.tested:
        return text + "With one seed per candidate the spread between seeds is unknown: untested."
    if decision.admissible:
        bounds = [
            f"{c.label} ({shortfall(decision.standing(c), candidates)})"
            for c in decision.admissible
        ]
        text += f"Within it with 95 % confidence: {f.joined(bounds)}."
    else:
        text += "No candidate is shown to be within it."
    turns = [
        f"from {f.score(as_compared(candidates.quality), limit)} on, {candidate.label}"
        for limit, candidate in decision.other_margins
        if not decision.standing(candidate).difference.different
    ]
    if turns and (len(turns) > 1 or not decision.admissible):
        text += f" At other margins the choice would be: {'; '.join(turns)}."
    return text


def _forgetting_reasons(decision: Decision, candidates: CandidateSet) -> list[str]:
    chosen = decision.chosen
    assert chosen is not None
    if candidates.forgetting is None or chosen.forgetting is None:
        return ["Forgetting was not measured, so it was not considered."]
    moved = estimate_text(chosen.forgetting, units=True)
    text = f"Forgetting: {chosen.label} moves {moved} from the base"
    if len(decision.admissible) < 2:
        return [f"{text}. No other candidate is shown to be as good, so this did not decide."]
    if len(decision.calm) > 1:
        names = [c.label for c in decision.calm if c is not chosen]
        return [
            f"{text}. {f.joined(names)} forget{'s' * (len(names) == 1)} equally little, within 10 %."
        ]
    others = sorted(
        (c for c in decision.admissible if c is not chosen and c.forgetting is not None),
        key=lambda c: c.forgetting.value if c.forgetting else 0.0,
    )
    if not others:
        return [text + ". For the others within the margin it was not measured."]
    lines = [f"{c.label} {estimate_text(c.forgetting)}" for c in others]
    return [
        f"{text}, the least of the {len(decision.admissible)} within the margin: {f.joined(lines)}."
    ]
