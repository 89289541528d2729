"""The rule that picks one candidate, as steps that can be run again on other conditions.

Among feasible candidates those statistically tied with the best in quality; of these the least
forgetting; where that is tied too, the cheapest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.reporting.candidates import Candidate, Field
from harness.reporting.estimates import Estimate
from harness.reporting.formatting import score, title
from harness.statistics.resampling import Comparison, compare_resamples, holm

LEVEL = 0.05
NEGLIGIBLE = 0.05  # relative; costs closer than this are the same
COSTS = ("peak_memory_gb", "train_seconds", "trainable_parameters")


@dataclass(frozen=True)
class Tested:
    """A candidate against the best one in quality."""

    candidate: Candidate
    comparison: Comparison | None  # candidate minus best; None where nothing can be resampled
    p_holm: float | None
    tied: bool
    how: str  # 'paired bootstrap', 'intervals' or 'values only'


@dataclass(frozen=True)
class Decision:
    """What the rule did, step by step."""

    best: Candidate  # in quality
    tested: tuple[Tested, ...]  # every feasible candidate but the best, best quality first
    tied: tuple[Candidate, ...]  # tied in quality, the best one first
    forgetting_tied: tuple[Candidate, ...]  # of those, the least forgetting and its ties
    chosen: Candidate
    step: str  # which step decided: 'only', 'quality', 'forgetting', 'cost'
    cost_name: str | None  # which cost decided, for step 'cost'


def compare(a: Estimate | None, b: Estimate | None) -> Comparison | None:
    """a minus b on the same resampled examples; None where that cannot be done."""
    if a is None or b is None or a.resamples is None or b.resamples is None or a.n != b.n:
        return None
    return compare_resamples(a.resamples, b.resamples, a.value - b.value)


def decide(candidates: Sequence[Candidate], field: Field) -> Decision | None:
    """Apply the rule; None if no candidate is feasible."""
    feasible = by_quality([c for c in candidates if c.feasible], field.maximize)
    if not feasible:
        return None
    best = feasible[0]
    tested = test_against(best, feasible[1:])
    tied = (best, *(t.candidate for t in tested if t.tied))
    calm, tested_forgetting = _least_forgetting(tied)
    chosen, cost_name = _cheapest(calm)
    if len(feasible) == 1:
        step = "only"
    elif len(tied) == 1:
        step = "quality"
    elif len(calm) == 1:
        step = "forgetting"
    else:
        step = "cost" if cost_name else ("forgetting" if tested_forgetting else "quality")
    return Decision(best, tested, tied, calm, chosen, step, cost_name)


def tells_nothing(decision: Decision, field: Field) -> str | None:
    """Why quality decides nothing: one value for every candidate and example, no better than the base.

    Such a tie would go to the candidate that learned least. None where quality can tell.
    """
    candidates = [decision.best, *(tested.candidate for tested in decision.tested)]
    qualities = [c.quality for c in candidates if c.quality is not None]
    value = qualities[0].value
    if any((q.value, q.low, q.high) != (value, value, value) for q in qualities):
        return None
    base = decision.best.base.get(field.quality)
    before = base.value if base is not None else 0.0 if field.maximize else value
    if value > before if field.maximize else value < before:
        return None
    than = "the untouched base" if base is not None else "nothing"
    return (
        f"{title(field.quality)} is {score(field.quality, value)} for every candidate and in every "
        f"resample, no better than of {than}: it tells nothing apart, and nothing is chosen by it. "
        "Name another measurement in objectives."
    )


def by_quality(candidates: Sequence[Candidate], maximize: bool) -> list[Candidate]:
    """Best first; those without a quality last."""

    def key(candidate: Candidate) -> tuple[bool, float, str]:
        quality = candidate.quality
        value = 0.0 if quality is None else quality.value
        return quality is None, -value if maximize else value, candidate.label

    return sorted(candidates, key=key)


def test_against(best: Candidate, others: Sequence[Candidate]) -> tuple[Tested, ...]:
    """Each of the others against the best in quality, Holm-corrected for how many there are."""
    comparisons = [compare(other.quality, best.quality) for other in others]
    p_values = {i: c.p_value for i, c in enumerate(comparisons) if c is not None}
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    tested = []
    for i, other in enumerate(others):
        if i in adjusted:
            tied, how = adjusted[i] > LEVEL, "paired bootstrap"
        else:
            tied, how = _by_interval(other.quality, best.quality)
        tested.append(Tested(other, comparisons[i], adjusted.get(i), tied, how))
    return tuple(tested)


def _by_interval(a: Estimate | None, b: Estimate | None) -> tuple[bool, str]:
    """Without per-example results: tied if the recorded intervals overlap."""
    if a is None or b is None:
        return False, "values only"
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return a.value == b.value, "values only"
    return a.low <= b.high and b.low <= a.high, "intervals"


def _least_forgetting(tied: Sequence[Candidate]) -> tuple[tuple[Candidate, ...], bool]:
    """Those whose forgetting cannot be told from the least, least first; and was it tested."""
    known = [c for c in tied if c.forgetting is not None]
    if not known:
        return tuple(tied), False
    known.sort(key=lambda c: (c.forgetting.value if c.forgetting else 0.0, c.label))
    least = known[0]
    kept = [least]
    for other in known[1:]:
        comparison = compare(other.forgetting, least.forgetting)
        if comparison is not None:
            same = comparison.low <= 0.0 <= comparison.high
        else:
            same, _ = _by_interval(other.forgetting, least.forgetting)
        if same:
            kept.append(other)
    return tuple(kept), True


def _cheapest(candidates: Sequence[Candidate]) -> tuple[Candidate, str | None]:
    """Least peak memory, then training time, then trainable parameters; first in order if equal.

    A candidate whose cost is unknown is passed over where that of another is known.
    """
    left, decided = list(candidates), None
    for name in COSTS:
        costs = [c.cost[name] for c in left if name in c.cost]
        if not costs:
            continue
        limit = min(costs) * (1 + NEGLIGIBLE)
        kept = [c for c in left if name in c.cost and c.cost[name] <= limit]
        if len(kept) < len(left):
            left, decided = kept, name
        if len(left) == 1:
            break
    return left[0], decided


def tie_letters(candidates: Sequence[Candidate], field: Field) -> dict[str, str]:
    """label -> letter: A is not told from the best, B from the best of the rest, and so on."""
    left = by_quality([c for c in candidates if c.feasible], field.maximize)
    letters: dict[str, str] = {}
    for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ":
        if not left:
            break
        tested = test_against(left[0], left[1:])
        group = [left[0], *(t.candidate for t in tested if t.tied)]
        letters.update({c.label: letter for c in group})
        left = [t.candidate for t in tested if not t.tied]
    return letters
