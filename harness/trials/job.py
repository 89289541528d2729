"""The specification of one trial, which the driver writes as ``spec.json`` for a worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from harness.config import LimitsConfig, TrialConfig
from harness.config.strict import from_mapping
from harness.records import Record
from harness.trials import ownership

NO_LIMITS = LimitsConfig(None, None, None, None)
ASKS_PRUNER = "decides"  # the key of ``asks_pruner`` in spec.json


@dataclass(frozen=True)
class Job:
    """One trial to run. Only ``config`` decides its result. Defaults are for trials without a sweep."""

    folder: str  # runs/NAME/trials/METHOD/FINGERPRINT
    cache: str  # tokens and base measurements, shared by all sweeps of a runs_dir
    method: str  # its name in the sweep: a file in conf/method, or one of its variants
    config: TrialConfig
    limits: LimitsConfig = NO_LIMITS
    trial: int = 0
    attempt: int = 1
    fingerprint: str = ""
    configuration: str = ""
    overrides: tuple[str, ...] = ()
    searched: Mapping[str, str] = field(default_factory=dict)  # key → range, for the record
    asks_pruner: bool = (
        False  # wait after each evaluation for the driver's answer: continue or stop
    )
    keep_adapter: bool = False

    def to_json(self) -> dict[str, Any]:
        data = asdict(self)
        data[ASKS_PRUNER] = data.pop("asks_pruner")
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Job:
        data = {**data, "asks_pruner": data[ASKS_PRUNER]}
        values = {field.name: data[field.name] for field in fields(cls)}
        values["config"] = from_mapping(TrialConfig, data["config"])
        values["limits"] = from_mapping(LimitsConfig, data["limits"])
        values["overrides"] = tuple(data["overrides"])
        return cls(**values)

    @property
    def path(self) -> Path:
        return Path(self.folder)

    @property
    def is_final(self) -> bool:
        """Return whether everything is measured: true for finalists and trials run by hand."""
        return self.config.stage == "confirm" or self.keep_adapter

    def check_own(self) -> None:
        """Check ownership of the folder. Raises Superseded if a later attempt owns it."""
        ownership.check(self.path, self.attempt)

    def record(self, status: str, **found: Any) -> Record:
        """Build the trial's record from the job's own fields and those in ``found``."""
        about: dict[str, Any] = {
            "stage": self.config.stage,
            "method": self.method,
            "trial": self.trial,
            "attempt": self.attempt,
            "fingerprint": self.fingerprint,
            "configuration": self.configuration,
            "seed": self.config.seed,
            "config": asdict(self.config),
            "overrides": list(self.overrides),
        }
        return Record(status=status, **(about | found))
