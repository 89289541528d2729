"""Search space: the dimensions given beside a method or on the command line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.errors import InputError


@dataclass(frozen=True)
class Choice:
    """One of ``values``, without order."""

    values: tuple[Any, ...]

    def ends(self) -> tuple[Any, ...]:
        return self.values

    def contains(self, value: Any) -> bool:
        return value in self.values

    def __str__(self) -> str:
        return "choice(" + ", ".join(map(str, self.values)) + ")"


@dataclass(frozen=True)
class Interval:
    """A number between ``low`` and ``high``, both included; ``step`` only for integers."""

    low: float
    high: float
    log: bool = False
    integer: bool = False
    step: int = 1

    def ends(self) -> tuple[Any, ...]:
        return (self.low, self.high)

    def contains(self, value: Any) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high

    def __str__(self) -> str:
        kind = ", ".join(["log"] * self.log + ["int"] * self.integer)
        body = f"interval({self.low:g}, {self.high:g})"
        return f"tag({kind}, {body})" if kind else body


MOST_VALUES = 10_000  # of a range, which is a list of them
Dimension = Choice | Interval
Space = Mapping[str, Dimension]  # dotted configuration key → its dimension


def points(dimension: Dimension) -> tuple[Any, ...] | None:
    """Return all values of a dimension; None if they are not finite in number."""
    if isinstance(dimension, Choice):
        return dimension.values
    if dimension.integer:
        return tuple(range(int(dimension.low), int(dimension.high) + 1, dimension.step))
    return None


def at_share(dimension: Dimension, share: float) -> Any:
    """Return the value below which ``share`` of the range lies, on its logarithm if searched so."""
    if isinstance(dimension, Choice):
        return dimension.values[min(int(share * len(dimension.values)), len(dimension.values) - 1)]
    low, high = dimension.low, dimension.high
    if dimension.integer:  # each integer has the same share
        low, high = low - 0.5, high + 0.5
    if dimension.log:
        value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    else:
        value = low + share * (high - low)
    value = round(value) if dimension.integer else value
    return min(max(value, dimension.low), dimension.high)


def value_at(tree: Mapping[str, Any], key: str) -> Any:
    """Return the value at a dotted key of a nested mapping."""
    node: Any = tree
    for part in key.split("."):
        node = node[part]
    return node


def choice(key: str, values: list[Any]) -> Choice:
    if not values:
        raise InputError(f"{key}: the search range is empty; give it at least one value.")
    # By type and value: lists have no hash, and 1, 1.0 and true are three choices.
    return Choice(tuple({f"{type(value)} {value}": value for value in values}.values()))


def interval(key: str, low: float, high: float, *, log: bool, integer: bool) -> Interval:
    if low >= high:
        raise InputError(
            f"{key}: interval({low:g}, {high:g}) is empty; the lower end must be below the upper."
        )
    if log and low <= 0:
        raise InputError(f"{key}: a log interval must begin above 0, not at {low:g}.")
    if integer:
        return Interval(int(low), int(high), log, True)
    return Interval(float(low), float(high), log, False)


def stepped(key: str, start: float, stop: float, step: float) -> Dimension:
    """Return the values of ``range(start, stop, step)`` as in Python, without the stop."""
    if step <= 0 or start >= stop:
        raise InputError(
            f"{key}: range({start:g}, {stop:g}, {step:g}) is empty; it needs start < stop, step > 0."
        )
    if (stop - start) / step > MOST_VALUES:
        raise InputError(
            f"{key}: range({start:g}, {stop:g}, {step:g}) has more than {MOST_VALUES:,} values; write "
            "tag(int, interval(low, high)), or interval(low, high) for fractions."
        )
    if all(isinstance(x, int) for x in (start, stop, step)):
        return choice(key, list(range(int(start), int(stop), int(step))))
    count = int((stop - start) / step - 1e-9) + 1
    return choice(key, [start + i * step for i in range(count)])
