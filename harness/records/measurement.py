"""A comparable number: value, unit, n, interval and a signature of how it was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Measurement:
    """One measured value.

    ``interval`` is the 95 % interval (low, high) over the ``n`` resampled units (sentences,
    documents or items, named in the signature); None if n does not allow one. Two measurements may
    be compared only if their signatures are equal.
    """

    value: float
    unit: str
    n: int
    interval: tuple[float, float] | None
    signature: str
    standard_error: float | None = None  # of the value, if it is a mean over n items

    def __post_init__(self) -> None:
        # A value that could not be measured is left out of the record and never stored as NaN.
        assert math.isfinite(self.value), f"{self.signature}: {self.value} is not a measurement"

    @property
    def error(self) -> float | None:
        """Return the standard error over items, else the one implied by the interval, else None."""
        if self.standard_error is not None or self.interval is None:
            return self.standard_error
        low, high = self.interval
        return (high - low) / (2 * 1.96)

    def to_json(self) -> dict[str, Any]:
        data = asdict(self)
        if self.standard_error is None:
            del data["standard_error"]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Measurement:
        interval = data["interval"]
        return cls(
            value=data["value"],
            unit=data["unit"],
            n=data["n"],
            interval=None if interval is None else (interval[0], interval[1]),
            signature=data["signature"],
            standard_error=data.get("standard_error"),
        )


def shown(value: float) -> str:
    """Format a value for a terminal: three decimals, or two significant digits for small values.

    A divergence of 0.0004 nats a token is small, but it is not 0.000.
    """
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.01 else f"{value:.2g}"
