"""Control of the mirror from the sweep: start its process, wait at the end, print the result."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config import SweepConfig

FINISH_SECONDS = 20.0  # longest wait at the end of a sweep; the process may run longer

# Variables for another run in the user's shell, which would rename or merge ours.
_FOREIGN = tuple(
    f"WANDB_{name}"
    for name in ("RUN_ID", "NAME", "RESUME", "RUN_GROUP", "JOB_TYPE", "SWEEP_ID", "SERVICE", "DIR")
)


@dataclass(frozen=True)
class Mirror:
    """A running mirror. ``process`` is None if it could not be started."""

    folder: Path
    process: subprocess.Popen[str] | None
    problem: str | None = None

    def finish(self, report: Path | str | None = None) -> None:
        """Send the report's folder, wait up to 20 s, print the result. Never raises."""
        try:
            self._say(self._answer(report))
        except Exception as error:  # the sweep and its report are complete already
            self._warn(f"{type(error).__name__}: {error}")

    def _answer(self, report: Path | str | None) -> dict[str, Any]:
        if self.process is None:
            return {"warnings": [self.problem]}
        asked = {"report": None if report is None else str(Path(report).resolve())}
        try:
            output, _ = self.process.communicate(json.dumps(asked) + "\n", timeout=FINISH_SECONDS)
        except subprocess.TimeoutExpired:
            return {"warnings": [f"not done after {FINISH_SECONDS:.0f} s, it goes on by itself"]}
        if not output.strip():
            return {"warnings": [f"the mirror ended with exit code {self.process.returncode}"]}
        return json.loads(output.splitlines()[-1])

    def _say(self, answer: dict[str, Any]) -> None:
        runs = _shown(self.folder / "wandb")
        if answer.get("offline"):
            command = f"wandb sync {shlex.quote(runs)}/offline-run-*"
            print(f"W&B: {answer['offline']} offline runs; to upload them: {command}")
        if answer.get("online"):
            print(f"W&B: {answer['online']} runs at {answer['url']}")
        if answer["warnings"]:
            self._warn("; ".join(answer["warnings"]))

    def _warn(self, text: str) -> None:
        log = _shown(_log(self.folder))
        print(f"Warning: W&B: {text} (records and report are not touched; {log})", file=sys.stderr)


def start_mirror(sweep: SweepConfig, folder: Path) -> Mirror | None:
    """Start mirroring ``folder`` and return at once; None if tracking is off.

    Never raises: if the process cannot be started, that is printed at the end.
    """
    tracking = sweep.tracking
    forced = os.environ.get("WANDB_MODE", "").lower()
    if tracking.name == "none" or forced == "disabled":
        return None
    command = [sys.executable, "-m", "harness.tracking", str(Path(folder).resolve())]
    command += ["--sweep", sweep.name, "--project", tracking.project]
    command += ["--mode", "offline" if forced == "offline" else tracking.mode]
    command += ["--parent", str(os.getpid())]
    command += ["--entity", tracking.entity] if tracking.entity else []
    try:
        with _open_log(folder) as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # closed when the sweep exits, which ends the process
                stdout=subprocess.PIPE,
                stderr=log,
                env=_environment(folder),
                text=True,
                start_new_session=True,  # the driver handles Ctrl-C
            )
    except OSError as error:
        return Mirror(folder, None, str(error))
    return Mirror(folder, process)


def _environment(folder: Path) -> dict[str, str]:
    own = str(Path(folder).resolve() / "wandb" / "data")
    environment = {k: v for k, v in os.environ.items() if k not in _FOREIGN}
    environment |= {"OMP_NUM_THREADS": "1", "GOMAXPROCS": "1"}  # leaves the cores to the trials
    # Files of an offline run must still exist when it is uploaded.
    environment |= {"WANDB_DATA_DIR": own, "WANDB_CACHE_DIR": own, "WANDB_ARTIFACT_DIR": own}
    return environment | {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}


def _log(folder: Path) -> Path:
    return Path(folder) / "workers" / "tracking.log"


def _open_log(folder: Path) -> Any:
    try:
        _log(folder).parent.mkdir(parents=True, exist_ok=True)
        return _log(folder).open("ab")
    except OSError:
        return open(os.devnull, "ab")


def _shown(path: Path) -> str:
    """Return the path relative to the current folder, if it lies below it."""
    resolved = path.resolve()
    below = resolved.is_relative_to(Path.cwd())
    return str(resolved.relative_to(Path.cwd()) if below else resolved)
