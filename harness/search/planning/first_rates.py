"""The rate that each method begins with: by the published rule for this model, or as it was set.

``harness/methods/first_rate.py`` has the rule. Whatever sets ``training.learning_rate`` wins over it:
the command line, a sweep, a preset for the model. So does a range that is set, in which the first
rate is the nearest there is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

from harness.compose.method_plan import MethodPlan
from harness.config import ModelConfig
from harness.config.search_space import Choice, Dimension, Interval
from harness.methods.first_rate import in_words, published_rate
from harness.models.loading.architecture import Architecture, read_architecture

RATE = "training.learning_rate"
TIMES = 10  # of the rule's rate: the ends of the range that nobody set


def with_first_rates(plans: Sequence[MethodPlan]) -> tuple[tuple[MethodPlan, ...], list[str]]:
    """Return the plans with their first rates and ranges, and which method has which, in words."""
    read = lru_cache(read_architecture)
    found = []
    reasons: dict[str, list[str]] = {}  # reason -> methods
    for plan in plans:
        begun, why = _with_rate(plan, read)
        if begun is not plan:
            searched = f" first, searched in {begun.space[RATE]}" if RATE in begun.space else ""
            why = f"{_rate_of(begun):g}{searched}; {why}"
        reasons.setdefault(why, []).append(plan.method)
        found.append(begun)
    return tuple(found), [f"{', '.join(methods)}: {why}" for why, methods in reasons.items()]


def of_one_trial(plan: MethodPlan) -> tuple[MethodPlan, str]:
    """Return the plan of a trial by hand at the rate that a sweep begins with, and a line about it."""
    begun, why = _with_rate(plan, read_architecture)
    rate = _rate_of(begun)
    if begun is not plan and RATE in begun.space:
        begun = replace(begun, overrides=(*begun.overrides, f"{RATE}={rate:g}"))
    return begun, f"{RATE}: {rate:g}, {why}"


def _rate_of(plan: MethodPlan) -> float:
    return plan.trial({}).training.learning_rate


def _with_rate(
    plan: MethodPlan, read: Callable[[ModelConfig], Architecture | None]
) -> tuple[MethodPlan, str]:
    """Return the plan with its first rate and range, and where they come from."""
    rule = plan.rate.rule
    if rule is None:
        return plan, "as configured; no rule is published for this"
    if not plan.rate.is_open:
        return plan, "as it is set"
    of = read(plan.trial({}).model)
    if of is None:
        why = "config.json does not name family and width, which the rule needs"
        return plan, f"as configured; {why}"
    rate = published_rate(rule, of)
    if rate is None:
        why = f"the published rule is not for {of.family} of width {of.width}"
        return plan, f"as configured; {why}"
    return _begun(plan, rate), (
        f"by the rule of Schulman et al. 2025 for {of.family} of width {of.width}: "
        f"{in_words(rule, of)} = {rate:.3g}"
    )


def _begun(plan: MethodPlan, rate: float) -> MethodPlan:
    """Return the plan that begins at ``rate``, or as near to it as its range allows."""
    space, overrides = dict(plan.space), plan.overrides
    if plan.rate.range_is_open and RATE in space:
        space[RATE] = Interval(_short(rate / TIMES), _short(rate * TIMES), log=True)
    rate = _nearest(space[RATE], rate) if RATE in space else _short(rate)
    if RATE not in space:  # else the command of a trial names it as a searched value
        overrides = (*overrides, f"{RATE}={rate:g}")
    tree = {**plan.tree, "training": {**plan.tree["training"], "learning_rate": rate}}
    return replace(plan, tree=tree, space=space, overrides=overrides)


def _nearest(dimension: Dimension, rate: float) -> float:
    if isinstance(dimension, Choice):
        return min(dimension.values, key=lambda value: abs(math.log(value / rate)))
    return min(max(_short(rate), dimension.low), dimension.high)


def _short(rate: float) -> float:
    """Return three digits of a rate, which is more than the rule knows."""
    return float(f"{rate:.3g}")
