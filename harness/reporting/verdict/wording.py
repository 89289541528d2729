"""Wording of estimates, differences and costs, shared by every sentence of a report."""

from __future__ import annotations

import math
from collections.abc import Callable

from harness.language import phrase, say
from harness.reporting import formatting as f
from harness.reporting.evidence.candidates import Candidate, CandidateSet
from harness.reporting.evidence.estimates import Estimate
from harness.reporting.verdict.decision import CandidateStanding
from harness.statistics.comparing.comparisons import ScoreDifference
from harness.statistics.comparing.replicates import is_logarithmic

COST_WORDS: dict[str, tuple[str, Callable[[float | None], str]]] = {
    "peak_memory_gb": (phrase("peak memory"), f.gigabytes),
    "seconds": (phrase("time to prepare and train"), f.duration),
    "trainable_parameters": (phrase("trainable parameters"), f.count),
}


def cost_words(name: str) -> tuple[str, Callable[[float | None], str]]:
    """Return the name of a cost, and the function that writes its value."""
    words, write = COST_WORDS[name]
    return say(words), write


def difference(found: ScoreDifference, candidates: CandidateSet, reverse: bool = False) -> str:
    """Write a difference: 'difference −2.1 [−5.0, 0.8], p = 0.31 among all pairs: not significant'."""
    gap, low, high = found.difference, found.low, found.high
    if reverse:
        gap = -gap
        low, high = (None, None) if low is None or high is None else (-high, -low)
    shown = f.with_interval(as_compared(candidates.quality), gap, low, high, sign=True, units=True)
    text = say("difference {shown}", shown=shown)
    if found.p_family is None:
        return say("{text}, untested", text=text)
    equals_p = f.equals_p(found.p_family)
    if found.different:
        return say("{text}, {equals_p} among all pairs: significant", text=text, equals_p=equals_p)
    if low is not None and high is not None and low * high > 0:  # seems to contradict the p-value
        text = say("{text} for this pair alone", text=text)
    return say("{text}, {equals_p} among all pairs: not significant", text=text, equals_p=equals_p)


def shortfall(standing: CandidateStanding, candidates: CandidateSet) -> str:
    """Write 'at most 0.7 worse than the best', at 95 % confidence for all candidates at once."""
    if not math.isfinite(standing.shortfall):
        return say("its possible distance below the best is unknown")
    if standing.shortfall <= 0:
        return say(
            "at least {distance} better than every other",
            distance=_bare(candidates, -standing.shortfall),
        )
    return say(
        "at most {distance} worse than the best", distance=_bare(candidates, standing.shortfall)
    )


def in_quality(candidates: CandidateSet, value: float) -> str:
    """Write a difference in quality: '1.0 test BLEU', or '0.020 nats/token' for a perplexity."""
    if is_logarithmic(candidates.quality):
        return _bare(candidates, value)
    if f.in_percent(candidates.quality):
        return say(
            "{score} points of {quality}",
            score=f.score(candidates.quality, value),
            quality=f.prose_title(candidates.quality),
        )
    return f"{f.score(candidates.quality, value)} {f.title(candidates.quality)}"


def of_best(candidates: CandidateSet, margin: float) -> str:
    """Write a distance from the best: '1.0 test BLEU of the best'."""
    if f.in_percent(candidates.quality):
        title = f.prose_title(candidates.quality)
        return say(
            "{score} percentage points of the best {title}",
            score=f.score(candidates.quality, margin),
            title=title,
        )
    return say("{in_quality} of the best", in_quality=in_quality(candidates, margin))


def named(name: str, value: str) -> str:
    """Write a formatted value before its measurement: '48.8 test BLEU', '48.8 % test exact match'."""
    return f"{value}{' %' if f.in_percent(name) else ''} {f.prose_title(name)}"


def as_compared(name: str) -> str:
    """Return the measurement whose unit differences have: nats per token for a perplexity."""
    return f"{name.split('.')[0]}.nll" if is_logarithmic(name) else name


def _bare(candidates: CandidateSet, value: float) -> str:
    """Write a difference in quality with its unit, without the name of the measurement."""
    name = as_compared(candidates.quality)
    return f"{f.score(name, value)} {f.unit(name)}".strip()


def estimate_text(estimate: Estimate | None, units: bool = False) -> str:
    """Write a score with its interval: '48.8 [46.1, 51.2]'."""
    if estimate is None:
        return f.MISSING
    low, high = estimate.low, estimate.high
    return f.with_interval(estimate.name, estimate.value, low, high, units=units)


def numbers(candidate: Candidate) -> str:
    """Write quality and forgetting of a candidate, with intervals."""
    parts = []
    if candidate.quality is not None:
        parts.append(named(candidate.quality.name, estimate_text(candidate.quality)))
    if candidate.forgetting is not None:
        parts.append(
            say("forgetting {estimate}", estimate=estimate_text(candidate.forgetting, units=True))
        )
    return say(", ").join(parts)
