"""Progress of a sweep: trials that ended and run, the best so far, and the time left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from harness.config.search_space import value_at
from harness.records import Record, read_json, write_json
from harness.search.screen.spending import Budget, duration, seconds_of
from harness.statistics.measurements.names import TEST, VALIDATION

FILE = "progress.json"  # in the sweep's folder: what is planned, and where the report lies
_LEAST_LEFT = 0.1  # share of a trial that is left after its last step: the last measurements


@dataclass(frozen=True)
class Planned:
    """Trials of one method, and the seconds that the plan expects of each; None if not measured."""

    search: int
    confirm: int
    seconds: float | None = None


@dataclass
class RunningTrial:
    """One running trial, as far as its last row says."""

    method: str
    stage: str
    settings: str
    steps: int | None  # None where epochs decide
    step: int = 0
    loss: float | None = None
    tokens_per_second: float | None = None
    folder: Path | None = None  # where its worker writes the phase that it is in

    def move(self, row: Mapping[str, Any], total_steps: int | None = None) -> None:
        """Take a row of ``metrics.jsonl``."""
        self.steps = self.steps or total_steps
        self.step = int(row.get("step") or self.step)
        if isinstance(row.get("loss"), int | float):
            self.loss = float(row["loss"])
        tokens, seconds = row.get("tokens"), row.get("seconds")
        if isinstance(tokens, int | float) and isinstance(seconds, int | float) and seconds > 0:
            self.tokens_per_second = tokens / seconds

    @property
    def share_left(self) -> float:
        """Share of the trial that is still to run, from its steps."""
        if not self.steps:
            return 0.5
        return max(_LEAST_LEFT, 1.0 - self.step / self.steps)


@dataclass
class SweepProgress:
    """All that is known of a running sweep. ``planned`` may be empty, then no time left is known."""

    objectives: Mapping[str, str]
    planned: dict[str, Planned] = field(default_factory=dict)
    workers: int = 1
    budget: Budget | None = None  # that decides how many trials there will be
    stage: str = "search"
    # by method and fingerprint
    running: dict[tuple[str, str], RunningTrial] = field(default_factory=dict)
    ended: list[Record] = field(default_factory=list)

    def end(self, record: Record) -> None:
        """Take the record of a trial that ended, now or before a restart."""
        self.ended.append(record)
        self.running.pop((record.method, record.fingerprint), None)

    def count(self, stage: str) -> int:
        """Return the number of ended trials of a stage."""
        return sum(record.stage == stage for record in self.ended)

    def total(self, stage: str) -> int:
        """Return the number of planned trials of a stage."""
        return sum(getattr(planned, stage) for planned in self.planned.values())

    def statuses(self) -> Counter[str]:
        """Return how many trials ended in each status."""
        return Counter(record.status for record in self.ended)

    def best(self) -> Record | None:
        """Return the complete trial of the latest stage that is best in the first objective."""
        name, way = next(iter(self.objectives.items()), (None, ""))
        for stage in ("confirm", "search"):
            found = [
                (value, record)
                for record in self.ended
                if record.stage == stage and record.status == "complete" and name
                if (value := record.value(measured(name, record))) is not None
            ]
            if found:
                pick = min if way == "minimize" else max
                return pick(found, key=lambda pair: pair[0])[1]
        return None

    def left_in_words(self) -> str | None:
        """Return 'about 12 min left', or what is spent of a budget; None if nothing is known."""
        if self.budget is not None:
            return self.budget.in_words(self.ended)
        left = self.seconds_left()
        return f"about {duration(left)} left" if left else None

    @property
    def share_done(self) -> float:
        """Share of the planned trials that have ended, or of the budget that is spent."""
        if self.budget is not None:
            return min(1.0, self.budget.spent_seconds(self.ended) / self.budget.seconds)
        total = sum(self.total(stage) for stage in ("search", "confirm"))
        return min(1.0, len(self.ended) / max(1, total))

    def seconds_left(self) -> float | None:
        """Return the expected seconds until the last planned trial has ended; None if not known.

        Of a budget, all that is not spent: it may end earlier, where a choice is shown.
        """
        if self.budget is not None:
            left = max(0.0, self.budget.seconds - self.budget.spent_seconds(self.ended))
            return left if self.budget.since is not None else left / self.workers
        left = 0.0
        trials = 0
        done = Counter((record.method, record.stage) for record in self.ended)
        runs = Counter((running.method, running.stage) for running in self.running.values())
        for method, planned in self.planned.items():
            seconds = self._seconds(method)
            for stage in ("search", "confirm"):
                n = getattr(planned, stage) - done[method, stage] - runs[method, stage]
                if n > 0 and seconds is None:
                    return None
                left += max(0, n) * (seconds or 0.0)
                trials += max(0, n)
        for running in self.running.values():
            seconds = self._seconds(running.method)
            if seconds is None:
                return None
            left += running.share_left * seconds
        if not self.planned:
            return None
        return left / max(1, min(self.workers, trials + len(self.running)))

    def _seconds(self, method: str) -> float | None:
        """Return what a trial of ``method`` takes: as its own did, as planned, or as others did."""
        own = [seconds_of(r) for r in self.ended if r.method == method and r.status == "complete"]
        if own:
            return sum(own) / len(own)
        ended = [r for r in self.ended if r.status == "complete"]
        taken = sum(map(seconds_of, ended))
        foreseen = [
            self.planned[r.method].seconds if r.method in self.planned else None for r in ended
        ]
        planned = self.planned[method].seconds if method in self.planned else None
        if planned is not None:
            known = sum(each or 0.0 for each in foreseen)
            return planned * (taken / known if known > 0 and None not in foreseen else 1.0)
        return taken / len(ended) if ended else None

    def write(self, folder: Path, report: Path | None = None) -> None:
        """Write what another process needs to read the same progress from the sweep's folder."""
        content = {
            "planned": {method: asdict(planned) for method, planned in self.planned.items()},
            "workers": self.workers,
            "budget": None if self.budget is None else asdict(self.budget),
            "report": None if report is None else str(report),
        }
        write_json(folder / FILE, content)


class Expected(NamedTuple):
    """Content of ``progress.json``."""

    planned: dict[str, Planned]
    workers: int = 1
    report: str | None = None
    budget: Budget | None = None


def read_expected(folder: Path) -> Expected:
    """Return what ``write`` wrote; nothing if it is unreadable."""
    found = read_json(folder / FILE)
    try:
        assert isinstance(found, dict)
        planned = {str(method): Planned(**each) for method, each in found["planned"].items()}
        bought = found.get("budget")
        budget = None if bought is None else Budget(**bought)
        return Expected(planned, int(found["workers"]), found["report"], budget)
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError):
        return Expected({})


def measured(name: str, record: Record) -> str:
    """Return an objective's measurement in a record: in a confirmation, that on the test split."""
    return name.replace(VALIDATION, TEST) if record.stage == "confirm" else name


def settings_of(config: Mapping[str, Any], searched: Mapping[str, Any]) -> str:
    """Return the searched values of a configuration in short: 'r=8 learning_rate=0.003'."""
    values = {key: value_at(dict(config), key) for key in searched}
    return " ".join(f"{key.rpartition('.')[2]}={_short(value)}" for key, value in values.items())


def _short(value: Any) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)
