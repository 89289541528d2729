"""Memory of each method: the measured footprints, and the search space that fits."""

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

Values = Mapping[str, Any]  # searched key → value; all other keys are as configured


@dataclass(frozen=True)
class MeasuredConfig:
    """A configuration of a method with its measured footprint."""

    values: Values  # of all searched keys that affect memory
    footprint: Footprint
    too_large: str | None  # why it does not fit; None: it fits


@dataclass(frozen=True)
class MethodMemory:
    """Memory measurements of one method; empty if nothing was measured."""

    measured: list[MeasuredConfig]  # the first is the configuration as given
    kept: Mapping[str, list[Any]]  # searched key → remaining values, or both ends of an interval
    left_out: list[str]  # one sentence for each removed value
    none_fits: str | None = None  # why the whole method is left out

    @property
    def trial_seconds(self) -> float:
        """Return the measured seconds of a trial as configured; 0 if it was not measured."""
        return self.measured[0].footprint.trial_seconds if self.measured else 0.0

    def cut(self, plan: MethodPlan) -> MethodPlan:
        """Return the plan with only those values in its space that fit."""
        if self.none_fits is not None:
            return replace(plan, space={})
        space = {key: remaining(plan.space[key], self.kept.get(key)) for key in plan.space}
        return replace(plan, space=space)

    def fits(self, plan: MethodPlan, named: Values) -> bool:
        """Return whether the user's values ``named`` lie in the remaining search space."""
        space = self.cut(plan).space
        return all(space[key].contains(named[key]) for key in self.kept if key in named)

    def too_large(self, config: Mapping[str, Any]) -> str | None:
        """Return why the trial ``config`` must not be started; None if it may be."""
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
    """Read the measurements of an earlier driver; ``UNKNOWN`` for a method without any."""
    found = read_json(folder / FILE)
    found = found if isinstance(found, dict) else {}
    needs = {}
    for plan in plans:
        try:
            needs[plan.method] = from_mapping(MethodMemory, found.get(plan.method, asdict(UNKNOWN)))
        except InputError:  # written by another version: not used
            needs[plan.method] = UNKNOWN
    return needs


def remaining(dimension: Dimension, kept: list[Any] | None) -> Dimension:
    """Return the part of ``dimension`` in ``kept``: values, or both ends; None keeps all of it."""
    if kept is None or kept == list(dimension.ends()):
        return dimension
    if isinstance(dimension, Choice):
        return Choice(tuple(kept))
    low, high = kept
    return Choice((low,)) if low == high else replace(dimension, low=low, high=high)
