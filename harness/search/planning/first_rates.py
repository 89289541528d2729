"""The rate that each method begins with: by the published rule for this model, or as it was set.

``harness/methods/first_rate.py`` has the rule. Whatever sets ``training.learning_rate`` wins over it:
the command line, a sweep, a preset for the model. So does a range that is set, in which the first
rate is the nearest there is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from harness.compose.method_plan import MethodPlan
from harness.config.search_space import Choice, Dimension, Interval
from harness.methods.first_rate import in_words, published_rate
from harness.models.loading.architecture import read_architecture

RATE = "training.learning_rate"
TIMES = 10  # of the rule's rate: the ends of the range that nobody set


def with_first_rates(plans: Sequence[MethodPlan]) -> tuple[tuple[MethodPlan, ...], list[str]]:
    """Return the plans with their first rates and ranges, and which method has which, in words."""
    read = lru_cache(read_architecture)
    found = []
    reasons: dict[str, list[str]] = {}  # reason -> methods
    for plan in plans:
        rule = plan.rate.rule
        if rule is None:
            why = "as configured; no rule is published for this"
        elif not plan.rate.is_open:
            why = "as it is set"
        elif (of := read(plan.trial({}).model)) is None:
            why = "as configured; config.json does not name family and width, which the rule needs"
        elif (rate := published_rate(rule, of)) is None:
            why = f"as configured; the published rule is not for {of.family} of width {of.width}"
        else:
            plan = _begun(plan, rate)
            own = plan.trial({}).training.learning_rate
            searched = f", searched in {plan.space[RATE]}" if RATE in plan.space else ""
            why = (
                f"{own:g} first{searched}; by the rule of Schulman et al. 2025 for {of.family} of "
            )
            why += f"width {of.width}: {in_words(rule, of)} = {rate:.3g}"
        reasons.setdefault(why, []).append(plan.method)
        found.append(plan)
    return tuple(found), [f"{', '.join(methods)}: {why}" for why, methods in reasons.items()]


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
