"""Selection of the configurations that fit into memory, from measured steps.

Each method is measured as configured and at the largest values of its search space. If those do not
fit, the space is reduced: a value is removed if it does not fit even with all other values at their
smallest.
The remaining combinations are not proven to fit. A trial that runs out of memory halves its
micro-batch, and ends as infeasible if that does not help.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from harness.compose.method_plan import MethodPlan
from harness.config import SweepConfig
from harness.config.search_space import Choice, Dimension, Interval, Space, points, value_at
from harness.errors import InputError
from harness.language import recorded
from harness.records.footprint import Footprint
from harness.search.planning.needs import UNKNOWN, MeasuredConfig, MethodMemory, Values, remaining

HALVINGS = 5  # bisection steps for the largest value of a continuous interval that fits
# Words in the last part of a key that do not change the size of any tensor.
WITHOUT_SIZE = ("rate", "dropout", "alpha", "decay", "warmup", "weight", "schedule", "steps")
WITHOUT_SIZE += ("epochs", "smoothing", "beta", "norm", "momentum", "factor", "init", "threshold")


def find_needs(
    plans: Sequence[MethodPlan],
    sweep: SweepConfig,
    sharing: int,
    measure: Callable[[Sequence[tuple[MethodPlan, Values]]], list[Footprint] | None],
) -> dict[str, MethodMemory]:
    """Measure the memory of every method and return it by method.

    ``sharing`` is the number of workers on one device. ``measure`` returns one footprint per
    configuration, or None if it could not measure several together. Raises InputError if fewer
    workers would fit on the device.
    """
    settings = sweep.launcher
    if (
        not settings.measure or settings.sharding != "none"
    ):  # sharded training cannot be measured on one device
        return {plan.method: UNKNOWN for plan in plans}
    fittings = [_Fitting(plan, sweep, sharing, measure) for plan in plans]
    asked = [(fitting, values) for fitting in fittings for values in fitting.first]
    found = measure([(fitting.plan, values) for fitting, values in asked]) or []
    for (fitting, values), each in zip(asked, found, strict=False):
        fitting.take(values, each)
    return {fitting.plan.method: fitting.needs() for fitting in fittings}


class _Fitting:
    """Measured configurations of one method, and the search for the largest ones that fit."""

    def __init__(self, plan: MethodPlan, sweep: SweepConfig, sharing: int, measure: Any) -> None:
        self.plan = plan
        self._sweep, self._sharing, self._measure = sweep, sharing, measure
        self._measured: dict[str, MeasuredConfig] = {}
        self._space = {key: d for key, d in plan.space.items() if has_size(key)}
        configured = asdict(plan.trial({}))
        self._configured = {key: value_at(configured, key) for key in self._space}
        largest = _at(self._space, -1)
        kinds = _kinds(self._space)
        corners = [largest | {key: value} for key, values in kinds.items() for value in values]
        self._largest = [self._configured | corner for corner in corners or [largest]]

    @property
    def first(self) -> list[dict[str, Any]]:
        """Return the configurations that are always measured: as configured, and the largest."""
        found = [self._configured]
        return found + [values for values in self._largest if values not in found]

    def take(self, values: Values, found: Footprint) -> None:
        self._measured[repr(values)] = MeasuredConfig(values, found, self._too_large(found))

    def needs(self) -> MethodMemory:
        """Return the memory of the method, with the reduced search space. Raises as ``find_needs``."""
        self._look(self._configured)
        if all([self._fits(values) for values in self._largest]):
            return MethodMemory(list(self._measured.values()), {}, [])
        smallest = self._configured | _at(self._space, 0)
        for key, values in _kinds(self._space).items():
            ways = [self._look(smallest | {key: value}) for value in values]
            least = min(ways, key=lambda way: (way.too_large is not None, way.footprint.needed_gb))
            smallest = dict(least.values)
        if not self._fits(smallest):
            why = self._look(smallest).too_large
            left_out = [
                recorded(
                    "{method}: {why}, with every searched value at its smallest",
                    method=self.plan.method,
                    why=why,
                )
            ]
            return MethodMemory(list(self._measured.values()), {}, left_out, why)
        kept, left_out = {}, []
        for key, dimension in self._space.items():
            kept[key] = self._kept(key, dimension, smallest)
            if kept[key] != list(dimension.ends()):
                left = remaining(dimension, kept[key])
                words = recorded(
                    "{method}: of {key}={dimension} only {left} fits",
                    method=self.plan.method,
                    key=key,
                    dimension=dimension,
                    left=left,
                )
                left_out.append(words)
        needs = MethodMemory(list(self._measured.values()), kept, left_out)
        for named in self._sweep.search.configs:
            if not needs.fits(self.plan, named):
                words = recorded(
                    "{method}: {settings} of search.configs",
                    method=self.plan.method,
                    settings=dict(named),
                )
                left_out.append(words)
        return needs

    def _fits(self, values: Values) -> bool:
        return self._look(values).too_large is None

    def _look(self, values: Values) -> MeasuredConfig:
        if repr(values) not in self._measured:
            found = self._measure([(self.plan, values)])
            assert found is not None
            self.take(values, found[0])
        return self._measured[repr(values)]

    def _too_large(self, found: Footprint) -> str | None:
        """Return why a footprint breaks a limit or does not fit into memory, or None.

        Raises InputError if fewer workers would fit.
        """
        limit, peak = self._sweep.limits.peak_memory_gb, found.peak_gb
        most, trained = self._sweep.limits.trainable_parameters, found.trainable_parameters
        if most is not None and trained is not None and trained > most:
            return f"{trained:,} trainable parameters; limits.trainable_parameters={most:,}"
        if found.infeasible is not None:
            return found.infeasible
        if limit is not None and peak > limit:
            return f"{peak:.2f} GB in a measured step; limits.peak_memory_gb={limit:g}"
        room, in_which = found.available_gb, "in a measured step"
        if found.evaluation_peak_gb > peak:
            peak, in_which = found.evaluation_peak_gb, "in an evaluation"
        if peak > room:
            return f"{peak:.2f} GB {in_which}; {found.device} has {room:.2f} GB to give"
        if peak * self._sharing > room:
            most = int(room // peak)
            raise InputError(
                f"launcher.workers={self._sweep.launcher.workers} cannot be used: {self._sharing} "
                f"workers share {found.device} with {room:.1f} GB to give, and one of method="
                f"{self.plan.method} took {peak:.2f} GB {in_which}. It must be "
                f"{most} a device or fewer."
            )
        return None

    def _kept(self, key: str, dimension: Dimension, smallest: dict[str, Any]) -> list[Any]:
        """Return the values that fit with all other dimensions smallest; of an interval both ends."""
        values = points(dimension)
        if values is None:
            assert isinstance(dimension, Interval)
            return self._interval(key, dimension, smallest)
        values = list(values)
        if not _is_ordered(values):
            return [value for value in values if self._fits(smallest | {key: value})]
        values.sort()
        if self._fits(smallest | {key: values[-1]}):
            return list(dimension.ends())
        below, above = 0, len(values) - 1  # bisection: values[below] fits, values[above] does not
        while above - below > 1:
            middle = (below + above) // 2
            fits = self._fits(smallest | {key: values[middle]})
            below, above = (middle, above) if fits else (below, middle)
        fitting = values[:above]
        if isinstance(dimension, Interval):
            return [fitting[0], fitting[-1]]
        return [value for value in dimension.values if value in fitting]

    def _interval(self, key: str, dimension: Interval, smallest: dict[str, Any]) -> list[Any]:
        low, high = dimension.low, dimension.high
        if self._fits(smallest | {key: high}):
            return [low, high]
        fits = low
        for _ in range(HALVINGS):
            middle = math.sqrt(fits * high) if dimension.log else (fits + high) / 2
            fitting = self._fits(smallest | {key: middle})
            fits, high = (middle, high) if fitting else (fits, middle)
        return [low, fits]


def has_size(key: str) -> bool:
    """Return whether memory may depend on the value searched at ``key``."""
    return not any(word in key.rpartition(".")[2] for word in WITHOUT_SIZE)


def _is_ordered(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _kinds(space: Space) -> dict[str, list[Any]]:
    """Return the values of unordered dimensions, whose largest value is unknown."""
    return {
        key: list(dimension.values)
        for key, dimension in space.items()
        if isinstance(dimension, Choice) and not _is_ordered(dimension.values)
    }


def _at(space: Space, end: int) -> dict[str, Any]:
    """Return the smallest (``end`` = 0) or largest (-1) value of every ordered dimension."""
    kinds = _kinds(space)
    return {k: sorted(d.ends())[end] for k, d in space.items() if k not in kinds}
