"""Fewer steps and test items, where the plan of a budget chose them: in plans and measured costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.allowance.division import Cuts
from harness.compose.method_plan import MethodPlan
from harness.data.rows.splits import Splits, read_splits
from harness.search.planning.needs import MethodMemory

STEPS, ITEMS = "share of steps", "data.test_limit"  # in the ledger
LENGTH = ("training.max_steps", "training.epochs")


def possible_cuts(plans: Sequence[MethodPlan], splits: Splits) -> Cuts:
    """Return what the plan may cut: what no argument and no range sets, for any method."""
    taken = {text.lstrip("+").split("=")[0] for plan in plans for text in plan.overrides}
    taken |= {key for plan in plans for key in plan.space}
    return Cuts(len(splits.test), of_items=ITEMS not in taken, of_steps=taken.isdisjoint(LENGTH))


def cut(
    plans: Sequence[MethodPlan], splits: Splits, chosen: Mapping[str, Any]
) -> tuple[tuple[MethodPlan, ...], Splits]:
    """Return the plans with the steps and test items in ``chosen``, and the splits that they read."""
    found = tuple(_cut(plan, chosen.get(STEPS), chosen.get(ITEMS)) for plan in plans)
    return found, read_splits(found[0].trial({}).data) if ITEMS in chosen else splits


def _cut(plan: MethodPlan, steps: float | None, items: int | None) -> MethodPlan:
    values: dict[str, Any] = {} if items is None else {ITEMS: items}
    if steps is not None:
        training = plan.trial({}).training
        if training.max_steps is not None:
            values[LENGTH[0]] = max(1, round(steps * training.max_steps))
        else:
            values[LENGTH[1]] = steps * (training.epochs or 1.0)
    tree, overrides = dict(plan.tree), list(plan.overrides)
    for key, value in values.items():
        part, name = key.split(".")
        tree[part] = {**tree[part], name: value}
        overrides.append(f"{key}={value:g}")
    return replace(plan, tree=tree, overrides=tuple(overrides))


def cut_needs(
    needs: Mapping[str, MethodMemory], chosen: Mapping[str, Any]
) -> dict[str, MethodMemory]:
    """Return the measured costs with the steps in ``chosen``. Memory does not depend on them."""
    share = chosen.get(STEPS)
    if share is None:
        return dict(needs)
    found = {}
    for method, each in needs.items():
        measured = [
            replace(one, footprint=replace(one.footprint, total_steps=n))
            for one in each.measured
            for n in [max(1, round(share * one.footprint.total_steps))]
        ]
        found[method] = replace(each, measured=measured)
    return found
