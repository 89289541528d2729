"""Reasons why other candidates were not chosen, or why none was."""

from __future__ import annotations

from harness.language import say
from harness.reporting import formatting as f
from harness.reporting.evidence.base_scores import base_name, is_of_classes
from harness.reporting.evidence.candidates import Candidate, CandidateSet
from harness.reporting.evidence.ranking import by_quality
from harness.reporting.verdict.contest import compare
from harness.reporting.verdict.decision import Decision
from harness.reporting.verdict.in_words import few_examples
from harness.reporting.verdict.rule import spent
from harness.reporting.verdict.wording import (
    cost_words,
    difference,
    estimate_text,
    in_quality,
    named,
    shortfall,
)
from harness.statistics.comparing.margins import FEWEST_ITEMS, INSTEAD_OF_BLIND
from harness.statistics.measurements.definitions import kind_of
from harness.statistics.measurements.names import VALIDATION


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


def why_none(decision: Decision, candidates: CandidateSet) -> list[str]:
    """Return the reasons for no recommendation, and what would show a gain."""
    best = decision.best
    if decision.step == "few":
        return [
            say(
                "Quality was measured on {examples}. Below {least}, neither an interval "
                "nor a difference is meaningful. Raise data.test_fraction or data.test_limit, "
                "or give a larger data.test. Separating methods takes a hundred examples or "
                "more.",
                examples=few_examples(decision),
                least=FEWEST_ITEMS,
            )
        ]
    if decision.step == "blind":
        return [
            say(
                "{quality} is the same for all candidates, or near 0. No likelihood of the "
                "same texts was measured that could decide instead. Name another measurement "
                "in objectives.",
                quality=f.title(candidates.quality),
            )
        ]
    base = best.base.get(candidates.quality)
    quality = named(candidates.quality, estimate_text(best.quality))
    text = say("Quality: {label} scores best, {quality}", label=best.label, quality=quality)
    if base is not None:
        text += say(
            "; {of}: {base}",
            of=base_name(candidates.quality),
            base=f.score(candidates.quality, base.value),
        )
    reasons = [say("{text}. No candidate is shown to be better than its own base.", text=text)]
    if candidates.blind is not None:
        reasons.append(blind_in_words(candidates))
    if kind_of(candidates.quality) in INSTEAD_OF_BLIND:
        return [
            *reasons,
            say(
                "To show a gain, try more training (training.max_steps or training.epochs), "
                "other learning rates or more test examples."
            ),
        ]
    kind = "loss" if is_of_classes(candidates.quality) else "bits_per_byte"
    return [
        *reasons,
        say(
            "To show a gain, try more training (training.max_steps or training.epochs), "
            "other learning rates, a more sensitive measurement "
            "(objectives={{{sensitive}: minimize}}) or more test examples.",
            sensitive=f"{VALIDATION}{kind}",
        ),
    ]


def blind_in_words(candidates: CandidateSet) -> str:
    """Return a sentence on the configured score, which does not separate the candidates."""
    assert candidates.blind is not None
    return say(
        "{blind} does not separate the candidates: it is the same for all, or near 0. "
        "{quality} decides instead.",
        blind=f.title(candidates.blind),
        quality=f.title(candidates.quality),
    )
