"""The recommendation in plain words, with the numbers behind every sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from harness.reporting import formatting as f
from harness.reporting.candidates import Candidate, Estimate, Field
from harness.reporting.cautions import cautions, unfinished
from harness.reporting.decision import Decision, by_quality, compare, decide
from harness.reporting.load import Run
from harness.statistics.resampling import minimal_detectable_difference

COST_WORDS: dict[str, tuple[str, Callable[[float | None], str]]] = {
    "peak_memory_gb": ("peak memory", f.gigabytes),
    "train_seconds": ("training time", f.duration),
    "trainable_parameters": ("trainable parameters", f.count),
}


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
    detectable = _detectable(decision)
    return Recommendation(
        chosen=decision.chosen,
        headline=_headline(decision, field),
        reasons=tuple(_reasons(decision, field, detectable)),
        runners_up=tuple(_runners_up(decision, field)),
        would_change=tuple(_would_change(decision, field)),
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
    lifted = decide([_without_problems(c) for c in field.candidates], field)
    if lifted is not None:
        problems = "; ".join(_problems_of(field, lifted.chosen.label))
        changes.append(
            f"If its problem did not matter ({problems}), the choice would be "
            f"{lifted.chosen.label}: {_numbers(lifted.chosen)}."
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
        f"{_estimate(best.quality)} {f.title(field.quality)} ({sample})."
    )
    if len(decision.tied) > 1:
        names = [t.candidate.label for t in decision.tested if t.tied]
        text = f"In quality, {f.joined(names)} cannot be told from it"
        if best is not chosen:
            own = next(t for t in decision.tested if t.candidate is chosen)
            text += (
                f"; {chosen.label} scores {_estimate(chosen.quality)}, {_difference(own, field)}"
            )
        reasons.append(text + ".")
    elif decision.tested:
        nearest = decision.tested[0]
        reasons.append(
            f"The next, {nearest.candidate.label}, is distinguishably worse: "
            f"{_difference(nearest, field)}."
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
            "times out of five. Four times as many examples would halve that, as far as examples "
            "and not seeds cause the spread."
        )
    return reasons


def _forgetting_reasons(decision: Decision, field: Field) -> list[str]:
    chosen, tied = decision.chosen, decision.tied
    if field.forgetting is None or chosen.forgetting is None:
        return ["Forgetting was not measured, so it played no part."]
    text = f"Forgetting: {chosen.label} moves {_estimate(chosen.forgetting, units=True)}"
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
    lines = [f"{c.label} {_estimate(c.forgetting)}" for c in others]
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
            lines.append((candidate.label, f"worse in quality: {_difference(test, field)}"))
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
    text = f"as good in quality, but forgets more: {_estimate(own, units=True)}"
    comparison = compare(own, chosen.forgetting)
    if comparison is None:
        return text
    more = f.with_interval(own.name, comparison.difference, comparison.low, comparison.high, True)
    return f"{text}, difference {more}"


def _would_change(decision: Decision, field: Field) -> list[str]:
    """The rule, run again on other conditions; only conditions that change the choice are named."""
    chosen, best = decision.chosen, decision.best
    lines = []
    if best is not chosen:
        own = next(t for t in decision.tested if t.candidate is chosen)
        lines.append(
            f"If forgetting and cost did not matter: {best.label}, "
            f"{_estimate(best.quality)} {f.title(field.quality)} ({_difference(own, field, True)})."
        )
    lines += _tighter(decision, field)
    lifted = decide([_without_problems(c) for c in field.candidates], field)
    if lifted is not None and lifted.chosen.label != chosen.label:
        problems = "; ".join(_problems_of(field, lifted.chosen.label))
        condition = f"If its problem did not matter ({problems})"
        if not problems:  # one that is ruled out would raise the bar for the others
            out = f.joined([c.label for c in field.candidates if c.problems])
            condition = f"If what is ruled out ({out}) still set the bar"
        lines.append(f"{condition}: {lifted.chosen.label}, {_numbers(lifted.chosen)}.")
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
                f"{f.unit(mark.name)}: {other.chosen.label}, {_numbers(other.chosen)}."
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
                f"{_numbers(other.chosen)}, {write(other.chosen.cost.get(name))}."
            )
    return lines


def _detectable(decision: Decision) -> float | None:
    """From the comparison that mattered: the nearest rival of the best."""
    known = [t.comparison for t in decision.tested if t.comparison is not None]
    return minimal_detectable_difference(known[0].standard_error) if known else None


def _difference(tested, field: Field, reverse: bool = False) -> str:
    """'−2.1 [−5.0, 0.8], p = 0.31 after Holm: not distinguishable' (candidate minus best)."""
    name, comparison = field.quality, tested.comparison
    if comparison is None:
        values = "their intervals overlap" if tested.tied else "their intervals do not overlap"
        if tested.how == "values only":
            values = "no per-example results and no intervals, so the values alone are compared"
        return values
    difference, low, high = comparison.difference, comparison.low, comparison.high
    if reverse:
        difference, low, high = -difference, -high, -low
    text = f.with_interval(name, difference, low, high, sign=True)
    verdict = "not distinguishable" if tested.tied else "distinguishable"
    return f"difference {text}, {f.equals_p(tested.p_holm)} after Holm: {verdict}"


def _estimate(estimate: Estimate | None, units: bool = False) -> str:
    if estimate is None:
        return f.MISSING
    low, high = estimate.low, estimate.high
    return f.with_interval(estimate.name, estimate.value, low, high, units=units)


def _numbers(candidate: Candidate) -> str:
    parts = []
    if candidate.quality is not None:
        parts.append(f"{_estimate(candidate.quality)} {f.title(candidate.quality.name)}")
    if candidate.forgetting is not None:
        parts.append(f"forgetting {_estimate(candidate.forgetting, units=True)}")
    return ", ".join(parts)


def _without_problems(candidate: Candidate) -> Candidate:
    return replace(candidate, problems=())


def _problems_of(field: Field, label: str) -> Sequence[str]:
    return next(c.problems for c in field.candidates if c.label == label)
