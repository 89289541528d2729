"""What is known of each method's needs: what was measured, what is left of what is searched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness.compose.method_plan import MethodPlan
from harness.config.search_space import Choice, Dimension, value_at
from harness.config.strict import from_mapping
from harness.errors import InputError
from harness.records import read_json, write_json
from harness.records.footprint import Footprint
from harness.records.plan_file import FILE

Values = Mapping[str, Any]  # of what is searched; the rest is as configured


@dataclass(frozen=True)
class MeasuredConfig:
    """One configuration of a method."""

    values: Values  # of all that is searched and has a size
    footprint: Footprint
    too_large: str | None  # why it does not fit; None: it does


@dataclass(frozen=True)
class MethodMemory:
    """One method's; empty where nothing was measured."""

    measured: list[MeasuredConfig]  # the first as configured
    kept: Mapping[str, list[Any]]  # searched key → the values, or both ends, that are left of it
    left_out: list[str]  # in words
    none_fits: str | None = None  # why the whole method is left out

    def cut(self, plan: MethodPlan) -> MethodPlan:
        """The plan without what does not fit."""
        if self.none_fits is not None:
            return replace(plan, space={})
        space = {key: remaining(plan.space[key], self.kept.get(key)) for key in plan.space}
        return replace(plan, space=space)

    def fits(self, plan: MethodPlan, named: Values) -> bool:
        """Whether values that a user names are left of what is searched."""
        space = self.cut(plan).space
        return all(space[key].contains(named[key]) for key in self.kept if key in named)

    def too_large(self, config: Mapping[str, Any]) -> str | None:
        """Why the trial ``config`` is not begun; None: it is."""
        if self.none_fits is not None:
            return self.none_fits
        for measured in self.measured:
            same = all(value_at(config, key) == value for key, value in measured.values.items())
            if same and measured.too_large is not None:
                return measured.too_large
        return None


UNKNOWN = MethodMemory([], {}, [])


def write_needs(folder: Path, needs: Mapping[str, MethodMemory]) -> None:
    write_json(folder / FILE, {method: asdict(each) for method, each in needs.items()})


def read_needs(folder: Path, plans: Sequence[MethodPlan]) -> dict[str, MethodMemory]:
    """What an earlier driver found; of a method without, nothing is known."""
    found = read_json(folder / FILE)
    found = found if isinstance(found, dict) else {}
    needs = {}
    for plan in plans:
        try:
            needs[plan.method] = from_mapping(MethodMemory, found.get(plan.method, asdict(UNKNOWN)))
        except InputError:  # written by another version: a trial finds out for itself
            needs[plan.method] = UNKNOWN
    return needs


def remaining(dimension: Dimension, kept: list[Any] | None) -> Dimension:
    """What is left of ``dimension``: ``kept`` are values, or both ends; None: all of it."""
    if kept is None or kept == list(dimension.ends()):
        return dimension
    if isinstance(dimension, Choice):
        return Choice(tuple(kept))
    low, high = kept
    return Choice((low,)) if low == high else replace(dimension, low=low, high=high)
