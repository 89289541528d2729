"""Terminal display of a running sweep: progress, remaining time and best results."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from harness.config import SweepConfig
from harness.config.search_space import value_at
from harness.records import Record
from harness.records.measurement import shown
from harness.statistics.measurements.names import TEST, VALIDATION
from harness.trials.job import Job


class Terminal:
    """A progress bar with the remaining time on a terminal; one line per finished trial anywhere."""

    def __init__(self, sweep: SweepConfig) -> None:
        self.console = Console(stderr=False, highlight=False)
        self._objectives = list(sweep.objectives)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
        )
        self._task: Any = None
        self._done = 0
        self._began = time.monotonic()
        self._phase = ""
        self._told: set[tuple[str, str]] = set()  # a missing value is reported once
        self._total = 0

    def __enter__(self) -> Terminal:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def phase(self, text: str, trials: int) -> None:
        self._phase, self._total, self._done = text, trials, 0
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(text, total=trials)

    def started(self, job: Job) -> None:
        again = f", attempt {job.attempt}" if job.attempt > 1 else ""
        self._describe(f"{job.config.method['name']} trial {job.trial}{again}")

    def moved(self, job: Job, row: dict[str, Any]) -> None:
        steps = job.config.training.max_steps
        loss = f" loss {row['loss']:.3f}" if "loss" in row else ""
        of = f"/{steps}" if steps else ""
        self._describe(f"{job.config.method['name']} step {row.get('step', 0)}{of}{loss}")

    def ended(self, record: Record) -> None:
        self._done += 1
        if self._task is not None:
            self._bar.update(self._task, completed=self._done)
        measured = []
        for name in self._objectives:
            name = name.replace(VALIDATION, TEST) if record.stage == "confirm" else name
            value = record.value(name)
            measured.append(f"{name} {'–' if value is None else shown(value)}")
        said = (
            "  ".join(measured)
            if record.status == "complete"
            else f"{record.status}: {record.reason}"
        )
        searched = {
            k: value_at(record.config, k) for k in record.provenance.get("search_space", {})
        }
        values = " ".join(f"{k.split('.')[-1]}={_short(v)}" for k, v in searched.items())
        seconds = record.cost.get("train_seconds", 0.0)
        number = f"{self._phase} {self._done}/{self._total}"
        self.console.print(
            f"{number:>15}  {record.method:<14} {values:<34} {said}  ({seconds:.1f} s)",
            soft_wrap=True,
            markup=False,
        )
        for name, why in record.missing.items():
            if (name, why) not in self._told:
                self._told.add((name, why))
                self.say(f"{'':>15}  {name} is missing: {why}")

    def say(self, text: str) -> None:
        self.console.print(text, soft_wrap=True, markup=False)

    def _describe(self, text: str) -> None:
        if self._task is not None:
            self._bar.update(self._task, description=f"{self._phase}: {text}")


def _short(value: Any) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)
