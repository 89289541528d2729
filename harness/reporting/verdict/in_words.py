"""Summary of the choice: the decision in one sentence, gain, loss elsewhere, and the runner-up."""

from __future__ import annotations

from harness.language import counted, say
from harness.reporting import formatting as f
from harness.reporting.evidence.base_scores import base_name
from harness.reporting.evidence.candidates import Candidate, CandidateSet
from harness.reporting.evidence.ranking import by_quality
from harness.reporting.verdict.decision import Decision
from harness.reporting.verdict.price import condition, if_it_matters, multiple
from harness.reporting.verdict.wording import (
    cost_words,
    estimate_text,
    in_quality,
    numbers,
    of_best,
)
from harness.statistics.measurements.names import FORGETTING_NLL, FORGETTING_TASKS


def headline(decision: Decision, candidates: CandidateSet) -> str:
    """Return the decision in one sentence."""
    chosen = decision.chosen
    if chosen is None:
        if decision.step == "few":
            return say(
                "No recommendation: {examples} are too few.", examples=few_examples(decision)
            )
        if decision.step == "blind":
            return say(
                "No recommendation: {quality} does not separate the candidates.",
                quality=f.title(candidates.quality),
            )
        return say("No recommendation: fine-tuning has not been shown to help.")
    own = f.settings(chosen.settings)
    named_choice = chosen.method + (say(" with {own}", own=own) if own else "")
    using = say("Use {named_choice}", named_choice=named_choice)
    if not candidates.confirmed:  # one seed, and the scores that chose it
        using = say(
            "Confirm {named_choice} with new seeds before using it", named_choice=named_choice
        )
    open_ = not decision.firm and not decision.probable and decision.step != "only"
    price = condition(chosen, candidates)
    if open_ and candidates.confirmed:
        using += say(" for now, and") if price else say(" for now")
    using += price
    title, within_best = f.prose_title(candidates.quality), of_best(candidates, decision.margin)
    if decision.step == "only":
        return say("{using}: the only candidate that can be recommended.", using=using)
    if not decision.firm:
        return _not_shown(using, decision, candidates)
    others = [s for s in decision.standings if s.candidate is not decision.best]
    if decision.step == "quality" and chosen is decision.best:
        if all(s.difference.different for s in others):
            return say(
                "{using}: significantly better than every other candidate in {title}.",
                using=using,
                title=title,
            )
        if any(s.shortfall <= decision.margin for s in others):
            return say(
                "{using}: it scores best in {title}, and no other candidate is shown to be both within "
                "{within_best} and better than the base.",
                using=using,
                title=title,
                within_best=within_best,
            )
        # A one-sided test with a margin. A two-sided difference need not be significant beside it.
        return say(
            "{using}: it scores best in {title}, and for no other candidate does a "
            "one-sided test against the best exclude a gap of more than {margin}.",
            using=using,
            title=title,
            margin=in_quality(candidates, decision.margin),
        )
    within = say("shown to be within {within_best}", within_best=within_best)
    if decision.step == "forgetting":
        return say(
            "{using}: {within}, and it forgets least among these.", using=using, within=within
        )
    if decision.step == "cost" and decision.cost_name:
        words, _ = cost_words(decision.cost_name)
        calm = say(", none of these forgets less,") if chosen.forgetting is not None else ""
        return say(
            "{using}: {within}{calm} and it costs least ({words}).",
            using=using,
            within=within,
            calm=calm,
            words=words,
        )
    return say("{using}: {within}.", using=using, within=within)


def _not_shown(using: str, decision: Decision, candidates: CandidateSet) -> str:
    """Return the headline of a choice that is not shown to be within the margin of the best."""
    title = f.prose_title(candidates.quality)
    using = (
        say("{using}: it scores best in {title}", using=using, title=title)
        if decision.chosen is decision.best
        else say(
            "{using}: it scores best in {title} of those shown to be better than the base",
            using=using,
            title=title,
        )
    )
    if decision.chance_beyond is None:
        return say(
            "{using}, but no candidate is shown to be within {within_best}.",
            using=using,
            within_best=of_best(candidates, decision.margin),
        )
    return say(
        "{using}. With {chance} probability another one is better by more than {margin}.",
        using=using,
        margin=in_quality(candidates, decision.margin),
        chance=as_chance(decision.chance_beyond),
    )


def as_chance(share: float) -> str:
    """Write a probability: '23 %', 'less than 1 %'."""
    percent = 100 * share
    return say("less than 1 %") if percent < 1 else f"{percent:.0f} %"


def few_examples(decision: Decision) -> str:
    """Write the number of examples that quality was measured on: '7 test examples'."""
    n = decision.best.quality.n if decision.best.quality else None
    return counted(n or 0, "1 test example", "{n} test examples")


def in_words(decision: Decision, candidates: CandidateSet) -> list[str]:
    """Return sentences on gain, loss and runner-up, each with the numbers that it rests on."""
    chosen = decision.chosen
    if chosen is None:
        return []
    return [
        *gained_and_lost(chosen, candidates),
        *if_it_matters(decision, candidates),
        *_runner_up(decision, candidates),
    ]


def gained_and_lost(candidate: Candidate, candidates: CandidateSet) -> list[str]:
    """Return sentences on what tuning gained on the task, and what it changed elsewhere."""
    return [*_gained(candidate, candidates), *_elsewhere(candidate)]


def _gained(chosen: Candidate, candidates: CandidateSet) -> list[str]:
    quality, base = chosen.quality, chosen.base.get(candidates.quality)
    if base is None or quality is None:
        return []
    better = quality.value > base.value if candidates.maximize else quality.value < base.value
    return [
        say(
            "Gained: {quality} goes from {base} ({of}) to {tuned}."
            if better
            else "Not gained: {quality} goes from {base} ({of}) to {tuned}.",
            quality=f.title(candidates.quality),
            base=f.score(candidates.quality, base.value),
            of=base_name(candidates.quality),
            tuned=estimate_text(quality),
        )
    ]


def _elsewhere(chosen: Candidate) -> list[str]:
    """Describe the changes on general text and on other tasks.

    A rise of the loss by d nats per token multiplies the perplexity by exp(d).
    """
    parts = []
    rise = chosen.estimates.get(FORGETTING_NLL)
    if rise is not None:
        parts.append(
            say(
                "perplexity on general text is {ratio}",
                ratio=_times(rise.value, rise.low, rise.high),
            )
        )
    elif chosen.forgetting is not None:
        parts.append(
            say(
                "predictions on general text move {estimate}",
                estimate=estimate_text(chosen.forgetting, True),
            )
        )
    tasks = chosen.estimates.get(FORGETTING_TASKS)
    if tasks is not None:
        shown = f.with_interval(tasks.name, tasks.value, tasks.low, tasks.high, sign=True)
        parts.append(say("other tasks change by {shown} points", shown=shown))
    return [say("Elsewhere: {parts}.", parts=say(", and ").join(parts))] if parts else []


def _times(rise: float, low: float | None, high: float | None) -> str:
    """Write a ratio of perplexities: '2.49 [2.20, 2.81] times the base\\'s', or '115'."""
    decimals = 2 if multiple(rise) < 10 else 1 if multiple(rise) < 100 else 0
    ratio = f.number(multiple(rise), decimals)
    if low is not None and high is not None:
        ratio += f" [{f.number(multiple(low), decimals)}, {f.number(multiple(high), decimals)}]"
    return say("{ratio} times the base's", ratio=ratio)


def _runner_up(decision: Decision, candidates: CandidateSet) -> list[str]:
    others = [c for c in by_quality(candidates.members, candidates.maximize) if c.feasible]
    second = next((c for c in others if c is not decision.chosen), None)
    return (
        [say("Runner-up: {label}, {numbers}.", label=second.label, numbers=numbers(second))]
        if second is not None
        else []
    )
