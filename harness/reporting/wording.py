"""Estimates, differences and costs of candidates, as every sentence of a report writes them."""

from __future__ import annotations

from collections.abc import Callable

from harness.reporting import formatting as f
from harness.reporting.candidates import Candidate, Field
from harness.reporting.decision import Tested
from harness.reporting.estimates import Estimate

COST_WORDS: dict[str, tuple[str, Callable[[float | None], str]]] = {
    "peak_memory_gb": ("peak memory", f.gigabytes),
    "train_seconds": ("training time", f.duration),
    "trainable_parameters": ("trainable parameters", f.count),
}


def difference(tested: Tested, field: Field, reverse: bool = False) -> str:
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
