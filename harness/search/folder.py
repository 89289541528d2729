"""A sweep's folder: who may write to it, what it was started with, and the records in it."""

from __future__ import annotations

import fcntl
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from harness.compose import FREE_KEYS, MethodPlan
from harness.config import SweepConfig
from harness.errors import InputError
from harness.records import Record, read_record, write_text
from harness.records.fingerprint import identity as trial_identity

class SweepFolder:
    """``runs/NAME``: ``sweep.yaml``, ``trials/METHOD/FINGERPRINT/``, ``study.db``, ``workers/``."""

    def __init__(self, sweep: SweepConfig) -> None:
        self.path = Path(sweep.runs_dir) / sweep.name
        self.cache = Path(sweep.runs_dir) / ".cache"
        self._lock: Any = None

    def open(self) -> None:
        """Make the folder and hold it. Raises InputError if it cannot be written or is held."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.cache.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / "lock").open("a+")
        except OSError as error:
            raise InputError(
                f"runs_dir={str(self.path.parent)!r} cannot be used: {error.strerror}."
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.seek(0)
            owner = self._lock.read().strip() or "another process"
            raise InputError(
                f"{self.path} is being written by {owner}: wait for it, or give this sweep a name=."
            ) from error
        self._lock.truncate(0)
        self._lock.write(f"process {os.getpid()}")
        self._lock.flush()

    def compare(self, description: Mapping[str, Any]) -> None:
        """Raises InputError with the differences if ``sweep.yaml`` describes another sweep."""
        old = self._described()
        differences = list(_differences(old.get("identity", {}), description["identity"]))
        if old and differences:
            listed = "\n  ".join(differences[:12])
            raise InputError(
                f"The sweep {self.path.name!r} was started with another configuration:\n  {listed}\n"
                f"Give this one another name=, or remove {self.path}."
            )

    def remember(self, description: Mapping[str, Any]) -> None:
        """Write ``sweep.yaml`` if there is none that can be read."""
        if not self._described():
            text = yaml.safe_dump(dict(description), sort_keys=False, allow_unicode=True)
            write_text(self.path / "sweep.yaml", text)

    def _described(self) -> dict[str, Any]:
        try:
            described = yaml.safe_load((self.path / "sweep.yaml").read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            return {}
        return described if isinstance(described, dict) else {}

    def trial(self, method: str, fingerprint: str) -> Path:
        return self.path / "trials" / method / fingerprint

    def records(self, method: str, stage: str) -> list[Record]:
        found = [read_record(path) for path in sorted(self.path.glob(f"trials/{method}/*"))]
        return [record for record in found if record is not None and record.stage == stage]


def describe(
    sweep: SweepConfig, plans: Sequence[MethodPlan], model: str, data: str
) -> dict[str, Any]:
    """What ``sweep.yaml`` holds: for the report, and as identity to compare a resumed sweep with."""
    whole = asdict(sweep)
    first = plans[0].trial({})
    identity = {key: value for key, value in whole.items() if key not in FREE_KEYS}
    identity["methods"] = {
        plan.method: {
            "trial": trial_identity(plan.trial({}), model, data),
            "space": {key: str(dimension) for key, dimension in plan.space.items()},
        }
        for plan in plans
    }
    typed = shlex.join(sys.argv[1:])
    return {
        "name": sweep.name,
        "command": f"python -m harness.sweep {typed}".strip(),
        "created": time.strftime("%Y-%m-%d %H:%M:%S"),
        "seed": sweep.seed,
        "methods": [plan.method for plan in plans],
        "objectives": dict(sweep.objectives),
        "limits": whole["limits"],
        "search": whole["search"],
        "confirm": {
            "finalists": sweep.confirm.finalists,
            "seeds": [confirm_seed(sweep, i) for i in range(sweep.confirm.seeds)],
        },
        "model": first.model.name,
        "data": first.data.name or str(first.data.train or first.data.source),
        "identity": identity,
    }


def confirm_seed(sweep: SweepConfig, index: int) -> int:
    """Fresh seeds: none of them has been searched with."""
    return sweep.seed + 1001 + index


def _differences(old: Any, new: Any, path: str = "") -> Any:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(k for k in new if k not in old)]:
            yield from _differences(
                old.get(key), new.get(key), f"{path}.{key}" if path else str(key)
            )
    elif old != new:
        yield f"{path}: {old!r} → {new!r}"
