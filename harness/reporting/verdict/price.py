"""Price of the choice on general text, which the headline states where it is large.

Tuning that adds d nats per token to the loss multiplies the perplexity by exp(d). The default limit is
a factor of 2. It is about what a model of a tenth of the size costs: on WikiText-2 the perplexity of
OPT-1.3B is 14.6 and that of OPT-125M is 27.7 (Frantar et al. 2023, arXiv:2210.17323).
"""

from __future__ import annotations

import math

from harness.language import say
from harness.reporting.evidence.candidates import Candidate, CandidateSet
from harness.reporting.verdict.decision import Decision
from harness.reporting.verdict.wording import numbers
from harness.statistics.measurements.names import FORGETTING_NLL

MOST = 1_000_000  # a larger factor says nothing more


def growth(candidate: Candidate) -> float | None:
    """Return the perplexity on general text as a multiple of the base's; None if not measured."""
    rise = candidate.estimates.get(FORGETTING_NLL)
    return None if rise is None else multiple(rise.value)


def multiple(rise: float) -> float:
    """Return the factor on the perplexity for a ``rise`` in nats per token; infinite if too large."""
    return math.exp(rise) if rise < math.log(1e300) else math.inf


def is_large(candidate: Candidate, candidates: CandidateSet) -> bool:
    """Return True if general perplexity grew by ``report.large_forgetting`` or more."""
    grown, limit = growth(candidate), candidates.large_forgetting
    return grown is not None and limit is not None and grown >= limit


def condition(chosen: Candidate, candidates: CandidateSet) -> str:
    """Return the condition to put behind 'Use NAME' in the headline; empty if the price is small."""
    if not is_large(chosen, candidates):
        return ""
    times = times_text(growth(chosen) or 0.0)
    if not candidates.confirmed:
        return say(
            ", and use it only if what the model could do before does not matter "
            "(perplexity on general text {times})",
            times=times,
        )
    return say(
        " only if what the model could do before does not matter "
        "(perplexity on general text {times})",
        times=times,
    )


def if_it_matters(decision: Decision, candidates: CandidateSet) -> list[str]:
    """Return the best candidate of a small price, or the nearest, where that of the choice is large."""
    chosen, limit = decision.chosen, candidates.large_forgetting
    if chosen is None or limit is None or not is_large(chosen, candidates):
        return []
    helping = [  # best quality first
        (standing.candidate, grown)
        for standing in decision.standings
        if standing.better_than_base is not False
        and (grown := growth(standing.candidate)) is not None
    ]
    for candidate, grown in helping:
        if grown < limit:
            return [
                say(
                    "If it matters: {label} is the best that stays below × {limit:g}, with {numbers} "
                    "and perplexity on general text {times}.",
                    label=candidate.label,
                    limit=limit,
                    numbers=numbers(candidate),
                    times=times_text(grown),
                )
            ]
    advice = say(
        "Search lower learning rates, set limits.forgetting, or try the options against forgetting "
        "(sweep=retention)."
    )
    nearest, grown = min(helping, key=lambda pair: pair[1], default=(chosen, 0.0))
    if nearest is chosen:
        return [
            say(
                "If it matters: no candidate that helps stays below × {limit:g}. {advice}",
                limit=limit,
                advice=advice,
            )
        ]
    return [
        say(
            "If it matters: no candidate that helps stays below × {limit:g}. {label} comes nearest, "
            "with {numbers} and perplexity on general text {times}. {advice}",
            limit=limit,
            label=nearest.label,
            numbers=numbers(nearest),
            times=times_text(grown),
            advice=advice,
        )
    ]


def times_text(factor: float) -> str:
    """Write a factor on a perplexity: '× 1.03', '× 2.52', '× 8.4', '× 471'."""
    if factor > MOST:
        return say("× more than {most:,}", most=MOST)
    if factor >= 10:
        return f"× {factor:,.0f}"
    return f"× {factor:.1f}" if factor >= 3 else f"× {factor:.2f}"
