"""The record of a trial. It is written last and atomically: if it exists, the trial is complete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from harness.records.measurement import Measurement
from harness.statistics.measurements.names import DRIFT_KL, FORGETTING

STATUSES = ("complete", "pruned", "infeasible", "diverged", "failed")
FORMAT = 1
SHARED = ("train_seconds", "overhead_seconds", "tokens_per_second")  # costs of a trial in a pack


@dataclass(frozen=True)
class Outcome:
    """Result of one post-training step: merge, interpolation, quantization or analysis."""

    measurements: dict[str, Measurement] = field(default_factory=dict)
    bytes: int | None = None  # size of the whole stored model
    note: str | None = None  # how it was made, or why a number is missing
    tokens_per_second: float | None = None  # generation speed while it was measured

    def to_json(self) -> dict[str, Any]:
        measurements = {name: m.to_json() for name, m in self.measurements.items()}
        speed = self.tokens_per_second
        more = {} if speed is None else {"tokens_per_second": speed}
        return {"measurements": measurements, "bytes": self.bytes, "note": self.note, **more}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Outcome:
        measured = {name: Measurement.from_json(m) for name, m in data["measurements"].items()}
        return cls(measured, data["bytes"], data["note"], data.get("tokens_per_second"))


@dataclass(frozen=True)
class Record:
    """Configuration, status, measurements, cost and provenance of one trial."""

    status: str  # one of STATUSES
    stage: str  # "search", "confirm", or "single" for a trial outside a sweep
    method: str
    trial: int  # number within the method's study; confirm trials have numbers of their own
    attempt: int  # 1 unless a worker was lost during it
    fingerprint: str  # hash of everything that can change the result
    configuration: str  # the same without seed and stage; equal for all seeds of a finalist
    seed: int
    config: dict[str, Any]  # resolved trial config: model, data, method, training, evaluation, seed
    overrides: list[str]  # arguments of `python -m harness.trial` to run it again
    measurements: dict[str, Measurement] = field(default_factory=dict)
    base: dict[str, Measurement] = field(default_factory=dict)  # values of the untouched base
    missing: dict[str, str] = field(default_factory=dict)  # name → reason why it was not measured
    afterwards: dict[str, Outcome] = field(
        default_factory=dict
    )  # by post-training step, see harness/afterwards
    cost: dict[str, float] = field(default_factory=dict)  # by name: train_seconds, ...
    provenance: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None  # why it is not complete
    format: int = FORMAT

    def __post_init__(self) -> None:
        assert self.status in STATUSES, self.status

    @property
    def own_cost(self) -> dict[str, float]:
        """Return the costs that compare with those of other trials: no shares in the time of a pack."""
        shares = SHARED if self.trained_in_pack else ()
        return {name: value for name, value in self.cost.items() if name not in shares}

    @property
    def trained_in_pack(self) -> bool:
        """Return whether other trials were trained together with this one."""
        return "pack" in self.provenance

    def value(self, name: str) -> float | None:
        """Return the value of the measurement ``name``; None if it was not measured."""
        measured = self.measurements.get(name)
        return None if measured is None else measured.value

    def base_value(self, name: str) -> float | None:
        """Return the base's value of the measurement ``name``; None if it was not measured.

        For measurements of change, such as forgetting, it is 0.
        """
        measured = self.base.get(name)
        if measured is not None:
            return measured.value
        return 0.0 if name.startswith((FORGETTING, DRIFT_KL)) else None

    def to_json(self) -> dict[str, Any]:
        data = asdict(self)
        for key in ("measurements", "base", "afterwards"):
            data[key] = {name: m.to_json() for name, m in getattr(self, key).items()}
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Record:
        """Build a record. Raises Key-, Type-, Attribute- or AssertionError if ``data`` is not one."""
        record = cls(**data)
        return replace(
            record,
            measurements={k: Measurement.from_json(v) for k, v in data["measurements"].items()},
            base={k: Measurement.from_json(v) for k, v in data["base"].items()},
            afterwards={k: Outcome.from_json(v) for k, v in data.get("afterwards", {}).items()},
        )
