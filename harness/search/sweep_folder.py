"""Folder of a sweep: its lock, its configuration and its records."""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from harness.compose.command_line import FREE_KEYS
from harness.compose.method_plan import MethodPlan
from harness.config import SweepConfig
from harness.config.database_url import hide_secrets
from harness.errors import InputError
from harness.paths import user_path
from harness.records import Record, read_record, write_text
from harness.records.disk_usage import make_writable, partial_files, remove
from harness.records.fingerprint import identity as trial_identity
from harness.records.secrets import scrub
from harness.records.store import set_aside

LEFT_BEHIND_SECONDS = 20.0  # longest time that workers of a killed driver take to exit


class SweepFolder:
    """The folder ``runs/NAME``: ``sweep.yaml``, ``trials/``, ``study.db``, ``workers/``, ``lock``."""

    def __init__(self, sweep: SweepConfig) -> None:
        self.path = user_path(sweep.runs_dir) / sweep.name
        self.cache = user_path(sweep.runs_dir) / ".cache"
        self._reports = user_path(sweep.reports_dir)
        self._lock: Any = None

    def open(self) -> None:
        """Create the folder and lock it. Raises InputError if it is locked or cannot be written."""
        for field, folder in (
            ("runs_dir", self.path),
            ("runs_dir", self.cache),
            ("reports_dir", self._reports),
        ):
            make_writable(field, folder)
        until = time.monotonic() + LEFT_BEHIND_SECONDS
        while not self._held():
            self._lock.seek(0)
            owner = self._lock.read().strip() or "another process"
            if _lives(owner) or time.monotonic() > until:
                raise InputError(
                    f"{self.path} is in use by {owner}. Wait until it has ended, or give this sweep "
                    "another name=."
                )
            time.sleep(0.2)  # the workers of a killed driver hold the lock until they exit
        self._lock.truncate(0)
        self._lock.write(f"process {os.getpid()}")
        self._lock.flush()
        self.sweep_up()

    def sweep_up(self) -> None:
        """Delete partial files of killed processes. Call it only while nothing is being written."""
        remove(self.packs)
        for folder in (self.path, *self.path.glob("trials/*/*")):
            for path in partial_files(folder):
                remove(path)

    @property
    def packs(self) -> Path:
        """Folders of the tasks of several trials, which are deleted when none runs."""
        return self.path / "packs"

    @property
    def lock(self) -> int:
        """File descriptor of the lock, which is held as long as any process has it open."""
        return self._lock.fileno()

    def _held(self) -> bool:
        path = self.path / "lock"
        self._lock = path.open("a+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.path.samestat(
                os.fstat(self.lock), path.stat()
            )  # another process may have deleted the file
        except OSError:
            return False

    def discard(self) -> None:
        """Delete the files of a sweep that was only planned, or rejected before it began."""
        if not (self.path / "sweep.yaml").exists() and not (self.path / "trials").exists():
            shutil.rmtree(self.path)
            for empty in (self.cache, self._reports):
                with suppress(OSError):
                    empty.rmdir()

    def resumes(self, description: Mapping[str, Any]) -> bool:
        """Return whether this sweep was started before. Raises InputError if another one was."""
        old = self._described()
        differences = list(_differences(old.get("identity", {}), description["identity"]))
        if old and differences:
            listed = "\n  ".join(differences[:12])
            raise InputError(
                f"The sweep {self.path.name!r} was started with another configuration:\n  {listed}\n"
                f"Give this one another name=, or remove {self.path}."
            )
        return bool(old)

    def remember(self, description: Mapping[str, Any]) -> None:
        """Write ``sweep.yaml``, which makes this folder the sweep's own."""
        text = yaml.safe_dump(dict(description), sort_keys=False, allow_unicode=True)
        write_text(self.path / "sweep.yaml", text)

    def _described(self) -> dict[str, Any]:
        path = self.path / "sweep.yaml"
        try:
            described = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError:
            return {}
        except (UnicodeDecodeError, yaml.YAMLError):
            described = None
        if not isinstance(described, dict) or not isinstance(described.get("identity"), dict):
            set_aside(path)  # it is written again; records do not depend on it
            return {}
        return described

    def trial(self, method: str, fingerprint: str) -> Path:
        return self.path / "trials" / method / fingerprint

    def records(self, method: str, stage: str) -> list[Record]:
        found = [read_record(path) for path in sorted(self.path.glob(f"trials/{method}/*"))]
        those = [record for record in found if record is not None and record.stage == stage]
        return sorted(those, key=lambda record: (record.trial, record.fingerprint))

    def all_records(self, methods: Sequence[str]) -> list[Record]:
        """Return the records of search and finalists, ordered by method."""
        stages = ("search", "confirm")
        return [record for m in methods for stage in stages for record in self.records(m, stage)]


def _lives(owner: str) -> bool:
    """Return whether ``owner``, as written in the lock, is a running process of this machine."""
    try:
        os.kill(int(owner.removeprefix("process ")), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        pass
    return True


def describe(
    sweep: SweepConfig,
    plans: Sequence[MethodPlan],
    models: Mapping[str, str],
    data: str,
    typed: Sequence[str],
) -> dict[str, Any]:
    """Return the content of ``sweep.yaml``, which identifies the sweep and serves the report."""
    whole = asdict(sweep)
    first = plans[0].trial({})
    identity = {key: value for key, value in whole.items() if key not in FREE_KEYS}
    identity["methods"] = {
        plan.method: {
            "trial": trial_identity(plan.trial({}), models[plan.method], data),
            "space": {key: str(dimension) for key, dimension in plan.space.items()},
        }
        for plan in plans
    }
    return {
        "name": sweep.name,
        "command": scrub(f"python -m harness.sweep {shlex.join(map(hide_secrets, typed))}".strip()),
        "created": time.strftime("%Y-%m-%d %H:%M:%S"),
        "seed": sweep.seed,
        "methods": [plan.method for plan in plans],
        "objectives": dict(sweep.objectives),
        "limits": whole["limits"],
        "search": whole["search"],
        "confirm": {
            "finalists": sweep.confirm.finalists,
            "margin": sweep.confirm.margin,
            "seeds": [confirm_seed(sweep, i) for i in range(sweep.confirm.seeds)],
        },
        "model": ", ".join(dict.fromkeys(plan.trial({}).model.name for plan in plans)),
        "data": first.data.name or str(first.data.train or first.data.source),
        "report": whole["report"],
        "identity": identity,
    }


def confirm_seed(sweep: SweepConfig, index: int) -> int:
    """Return the ``index``-th confirmation seed, which the search has not used."""
    return sweep.seed + 1001 + index


def _differences(old: Any, new: Any, path: str = "") -> Any:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(k for k in new if k not in old)]:
            yield from _differences(
                old.get(key), new.get(key), f"{path}.{key}" if path else str(key)
            )
    elif old != new:
        yield f"{path}: {old!r} → {new!r}"
