"""Estimates, differences and costs of candidates, as every sentence of a report writes them."""

from __future__ import annotations

import math
from collections.abc import Callable

from harness.reporting import formatting as f
from harness.reporting.evidence.candidates import Candidate, CandidateSet
from harness.reporting.evidence.estimates import Estimate
from harness.reporting.verdict.rule import Standing
from harness.statistics.comparing.comparisons import Difference
from harness.statistics.comparing.replicates import is_logarithmic

COST_WORDS: dict[str, tuple[str, Callable[[float | None], str]]] = {
    "peak_memory_gb": ("peak memory", f.gigabytes),
    "seconds": ("time to train", f.duration),
    "trainable_parameters": ("trainable parameters", f.count),
}


def difference(found: Difference, field: CandidateSet, reverse: bool = False) -> str:
    """'difference −2.1 [−5.0, 0.8], p = 0.31 among all pairs: not told apart'."""
    gap, low, high = found.difference, found.low, found.high
    if reverse:
        gap = -gap
        low, high = (None, None) if low is None or high is None else (-high, -low)
    told = f.with_interval(as_compared(field.quality), gap, low, high, sign=True, units=True)
    text = f"difference {told}"
    if found.p_family is None:
        return f"{text}, untested"
    verdict = "distinguishable" if found.different else "not told apart"
    return f"{text}, {f.equals_p(found.p_family)} among all pairs: {verdict}"


def shortfall(standing: Standing, field: CandidateSet) -> str:
    """'at most 0.7 worse than the best', with 95 % confidence for all candidates at once."""
    if not math.isfinite(standing.shortfall):
        return "how far it may lie below the best is not known"
    if standing.shortfall <= 0:
        return f"at least {_bare(field, -standing.shortfall)} better than every other"
    return f"at most {_bare(field, standing.shortfall)} worse than the best"


def in_quality(field: CandidateSet, value: float) -> str:
    """'1.0 test BLEU'; of a perplexity '0.020 nats/token', as its differences are."""
    if is_logarithmic(field.quality):
        return _bare(field, value)
    return f"{f.score(field.quality, value)} {f.title(field.quality)}"


def as_compared(name: str) -> str:
    """The measurement whose unit differences have: nats a token in place of a perplexity."""
    return f"{name.split('.')[0]}.nll" if is_logarithmic(name) else name


def _bare(field: CandidateSet, value: float) -> str:
    """With its unit, where the title does not say it all."""
    name = as_compared(field.quality)
    return f"{f.score(name, value)} {f.unit(name)}".strip()


def estimate_text(estimate: Estimate | None, units: bool = False) -> str:
    if estimate is None:
        return f.MISSING
    low, high = estimate.low, estimate.high
    return f.with_interval(estimate.name, estimate.value, low, high, units=units)


def numbers(candidate: Candidate) -> str:
    parts = []
    if candidate.quality is not None:
        parts.append(f"{estimate_text(candidate.quality)} {f.title(candidate.quality.name)}")
    if candidate.forgetting is not None:
        parts.append(f"forgetting {estimate_text(candidate.forgetting, units=True)}")
    return ", ".join(parts)
