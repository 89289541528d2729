"""Terminal display of a running sweep: a live screen, or lines with clock times in a log."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.live import Live

from harness.config import SweepConfig
from harness.records import Record
from harness.search.screen.live import scores, screen
from harness.search.screen.progress import (
    Planned,
    RunningTrial,
    SweepProgress,
    settings_of,
)
from harness.search.screen.spending import Budget
from harness.trials.job import Job

REFRESHES = 2  # of the live screen, a second


class Terminal:
    """A live screen on a terminal, and a line for each ended trial everywhere."""

    def __init__(self, sweep: SweepConfig) -> None:
        self.console = Console(stderr=False, highlight=False)
        self.progress = SweepProgress(dict(sweep.objectives))
        self._reported: set[tuple[str, str]] = set()  # a missing value is reported once
        # Ended and planned trials of the present phase; None planned: a budget decides.
        self._round: tuple[int, int | None] = (0, 0)
        self._live = Live(
            console=self.console,
            get_renderable=lambda: screen(self.progress),
            refresh_per_second=REFRESHES,
            transient=True,
        )

    def __enter__(self) -> Terminal:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live.is_started:
            self._live.stop()

    def expect(
        self, planned: Mapping[str, Planned], workers: int, budget: Budget | None = None
    ) -> None:
        """Take what the plan foresees, from which the time left follows."""
        self.progress.planned, self.progress.workers = dict(planned), workers
        self.progress.budget = budget

    def phase(self, text: str, trials: int | None) -> None:
        self.progress.stage, self._round = text, (0, trials)
        if not self.console.is_terminal:  # there the screen shows them
            number = "as many trials as the budget allows" if trials is None else f"{trials} trial"
            number += "s" * (trials not in (None, 1))
            self.say(f"{time.strftime('%H:%M:%S')} {text}: {number}")

    def started(self, job: Job) -> None:
        settings = settings_of(job.to_json()["config"], job.searched)
        again = f"(attempt {job.attempt})" if job.attempt > 1 else ""
        self.progress.running[job.method, job.fingerprint] = RunningTrial(
            method=job.method,
            stage=job.config.stage,
            settings=f"{settings} {again}".strip(),
            steps=job.config.training.max_steps,
            folder=job.path,
        )

    def moved(self, job: Job, row: dict[str, Any]) -> None:
        running = self.progress.running.get((job.method, job.fingerprint))
        if running is not None:
            running.move(row)

    def ended(self, record: Record) -> None:
        self.progress.end(record)
        done, total = self._round[0] + 1, self._round[1]
        self._round = (done, total)
        settings = settings_of(record.config, record.provenance.get("search_space", {}))
        number = f"{self.progress.stage} {done}{'' if total is None else f'/{total}'}"
        left = self.progress.left_in_words()
        seconds = f"{record.cost.get('train_seconds', 0.0):.1f} s"
        if left is not None:
            seconds += f", {left}"
        self.say(
            f"{time.strftime('%H:%M:%S')} {number:>13}  {record.method:<14} {settings:<34} "
            f"{scores(record, self.progress)}  ({seconds})"
        )
        for name, why in record.missing.items():
            if (name, why) not in self._reported:
                self._reported.add((name, why))
                self.say(f"{'':>22}  {name} is missing: {why}")

    def say(self, text: str) -> None:
        """Print a line, above the live screen where there is one."""
        self.console.print(text, soft_wrap=True, markup=False)
