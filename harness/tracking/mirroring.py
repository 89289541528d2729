"""Mirroring of a sweep's trials to W&B, with the list of those done and failed."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.records import Record, read_json, write_json
from harness.tracking import wandb_account
from harness.tracking.contents import (
    Heading,
    heading,
    read_curves,
    run_id,
    samples,
    summary,
    thinned,
)

GIVE_UP = 3  # consecutive failures
REPORT = "report"  # name of the W&B run that holds the report
REPORT_FILES = ("index.html", "report.md", "leaderboard.csv", "report.json")


@dataclass
class Mirroring:
    """Mirrors the trials of one folder. Finished ones are listed in ``wandb/mirrored.json``."""

    folder: Path
    options: argparse.Namespace
    failures: dict[str, str] = field(default_factory=dict)  # trial → error
    warnings: list[str] = field(default_factory=list)
    _runs: Any = None
    _done: dict[str, dict[str, Any]] = field(default_factory=dict)
    _written: dict[str, Path] = field(default_factory=dict)  # offline runs written by this process
    _seen: dict[Path, tuple[int, int]] = field(default_factory=dict)
    _open: dict[Path, Any] = field(default_factory=dict)  # online: runs of trials in progress
    _in_a_row: int = 0

    @property
    def broken(self) -> bool:
        return self._in_a_row >= GIVE_UP

    def begin(self) -> None:
        """Prepare the folder ``wandb``. Raises OSError if it cannot be written."""
        (self.folder / "wandb").mkdir(parents=True, exist_ok=True)
        found = read_json(self._memory)
        self._done = found if isinstance(found, dict) else {}

    def scan(self) -> None:
        """Mirror trials that ended since the last scan; when online, running ones too."""
        for trial in sorted(self.folder.glob("trials/*/*")):
            stamp = _stamp(trial / "record.json")
            if self.broken or self._seen.get(trial) == stamp is not None:
                continue
            with self._counting_failures(_key(trial)):
                if stamp is not None:
                    self._seen[trial] = stamp
                    self._ended(trial)
                elif self.options.mode == "online" and (trial / "metrics.jsonl").exists():
                    self._goes_on(trial)

    def mend(self) -> None:
        """Write deleted offline runs again from their records."""
        gone = {key for key, file in self._written.items() if not file.exists()}
        again = [trial for trial in self._seen if _key(trial) in gone | self.failures.keys()]
        if not gone and not again:
            return
        self._in_a_row = 0
        for trial in again:
            self._done.pop(_key(trial), None)
            del self._seen[trial]
        self.scan()
        back = sum(key in self._done and self._written[key].exists() for key in gone)
        if back:
            self.warnings.append(
                f"{back} of its runs were deleted from {self.folder / 'wandb'} while the sweep ran, "
                "and are written again"
            )

    def report(self, folder: Path) -> None:
        """Upload the report's files as an artifact of a last run, unless they are unchanged."""
        files = [folder / name for name in REPORT_FILES if (folder / name).is_file()]
        mark = _digest(b"".join(file.read_bytes() for file in files))
        key = REPORT
        if not files or self._done.get(key, {}).get("content") == mark or self.broken:
            return
        with self._counting_failures(key):
            sweep = self.options.sweep
            run = self._wandb().open(Heading(run_id(sweep, key), f"{sweep}-{key}", key, (key,), {}))
            run.artifact(f"{sweep}-{key}", files)
            run.finish()
            self._remember(key, run, mark)

    def close(self) -> None:
        """Close runs of interrupted trials; they continue under the same id with the trial."""
        for trial, run in self._open.items():
            with self._counting_failures(_key(trial)):
                run.finish(failed=True)

    def answer(self) -> dict[str, Any]:
        warnings = list(self.warnings) + ([] if self._runs is None else self._runs.warnings)
        if self.failures:
            more = " (and gave up)" if self.broken else ""
            name, why = list(self.failures.items())[-1]
            name = name.rpartition("/")[2]
            warnings.append(f"{len(self.failures)} not mirrored{more}: {name}: {why}")
        modes = [entry["mode"] for entry in self._done.values()]
        urls = [entry["url"] for entry in self._done.values() if entry.get("url")]
        return {
            "offline": modes.count("offline"),
            "online": modes.count("online"),
            "url": urls[-1].partition("/runs/")[0] if urls else None,
            "warnings": warnings,
        }

    def _ended(self, trial: Path) -> None:
        raw = (trial / "record.json").read_bytes()
        key, mark = _key(trial), _digest(raw)
        if self._done.get(key, {}).get("content") == mark:
            return
        data = json.loads(raw)
        record = Record.from_json(data)
        run = self._open.pop(trial, None) or self._wandb().open(heading(self.options.sweep, data))
        run.log(thinned(read_curves(trial)))
        run.table("outputs", samples(trial))
        run.finish(summary(record), failed=record.status in ("failed", "diverged"))
        self._remember(key, run, mark)

    def _goes_on(self, trial: Path) -> None:
        if trial not in self._open:
            spec = read_json(trial / "spec.json")
            if spec is None:
                return
            self._open[trial] = self._wandb().open(heading(self.options.sweep, spec))
        self._open[trial].log(read_curves(trial)[:-1])  # the newest step may still get more values

    def _wandb(self) -> Any:
        """Import wandb once the first trial has ended, so that it does not slow the start."""
        if self._runs is None:
            options, online = self.options, self.options.mode == "online"
            why = wandb_account.why_not_online() if online else None
            if why is not None:
                self.warnings.append(f"offline, because {why}")
            from harness.tracking.runs import WandbRuns

            self._runs = WandbRuns(
                self.folder,
                project=options.project,
                entity=options.entity,
                group=options.sweep,
                online=online and why is None,
            )
            options.mode = "online" if self._runs.online else "offline"
        return self._runs

    def _remember(self, key: str, run: Any, mark: str) -> None:
        mode = "offline" if run.url is None else "online"
        if mode == "offline":
            self._written[key] = run.file
        self.failures.pop(key, None)
        self._done[key] = {"mode": mode, "content": mark, "url": run.url}
        write_json(self._memory, self._done)

    @property
    def _memory(self) -> Path:
        return self.folder / "wandb" / "mirrored.json"

    @contextlib.contextmanager
    def _counting_failures(self, what: str) -> Iterator[None]:
        try:
            yield
            self._in_a_row = 0
        except ImportError:
            raise
        except Exception as error:
            traceback.print_exc()
            self._in_a_row += 1
            self.failures[what] = f"{type(error).__name__}: {str(error).strip()[:200]}"


def _key(trial: Path) -> str:
    return f"{trial.parent.name}/{trial.name}"


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
