"""Summary of the choice: gain in quality, loss elsewhere, and the runner-up."""

from __future__ import annotations

import math

from harness.reporting import formatting as f
from harness.reporting.evidence.candidates import Candidate, CandidateSet
from harness.reporting.evidence.ranking import by_quality
from harness.reporting.verdict.decision import Decision
from harness.reporting.verdict.wording import estimate_text, numbers
from harness.statistics.measurements.names import FORGETTING_NLL, FORGETTING_TASKS


def in_words(decision: Decision, candidates: CandidateSet) -> list[str]:
    """Return sentences on gain, loss and runner-up, each with the numbers that it rests on."""
    chosen = decision.chosen
    if chosen is None:
        return []
    return [*gained_and_lost(chosen, candidates), *_runner_up(decision, candidates)]


def gained_and_lost(candidate: Candidate, candidates: CandidateSet) -> list[str]:
    """Return sentences on what tuning gained on the task, and what it changed elsewhere."""
    return [*_gained(candidate, candidates), *_elsewhere(candidate)]


def _gained(chosen: Candidate, candidates: CandidateSet) -> list[str]:
    quality, base = chosen.quality, chosen.base.get(candidates.quality)
    if base is None or quality is None:
        return []
    better = quality.value > base.value if candidates.maximize else quality.value < base.value
    return [
        f"{'Gained' if better else 'Not gained'}: {f.title(candidates.quality)} goes from "
        f"{f.score(candidates.quality, base.value)} (untouched base) to {estimate_text(quality)}."
    ]


def _elsewhere(chosen: Candidate) -> list[str]:
    """Describe the changes on general text and on other tasks.

    A rise of the loss by d nats per token multiplies the perplexity by exp(d).
    """
    parts = []
    rise = chosen.estimates.get(FORGETTING_NLL)
    if rise is not None:
        parts.append(f"perplexity on general text is {_times(rise.value, rise.low, rise.high)}")
    elif chosen.forgetting is not None:
        parts.append(f"predictions on general text move {estimate_text(chosen.forgetting, True)}")
    tasks = chosen.estimates.get(FORGETTING_TASKS)
    if tasks is not None:
        shown = f.with_interval(tasks.name, tasks.value, tasks.low, tasks.high, sign=True)
        parts.append(f"other tasks change by {shown} points")
    return [f"Elsewhere: {', and '.join(parts)}."] if parts else []


def _times(rise: float, low: float | None, high: float | None) -> str:
    """Write a ratio of perplexities: '2.49 [2.20, 2.81] times the base\\'s'."""
    ratio = f"{math.exp(rise):.2f}"
    if low is not None and high is not None:
        ratio += f" [{math.exp(low):.2f}, {math.exp(high):.2f}]"
    return f"{ratio} times the base's"


def _runner_up(decision: Decision, candidates: CandidateSet) -> list[str]:
    others = [c for c in by_quality(candidates.members, candidates.maximize) if c.feasible]
    second = next((c for c in others if c is not decision.chosen), None)
    return [f"Runner-up: {second.label}, {numbers(second)}."] if second is not None else []
