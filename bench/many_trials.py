"""``python -m bench.many_trials``: overhead of a trial, at 100, 1,000 and 10,000 trials.

The real driver, study, records and rung table on a launcher that makes its measurements up. What
Optuna spends on proposing and storing is timed apart from what is ours. Options: ``--trials``,
``--sampler``, ``--methods``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import resource
import tempfile
import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna

from harness.compose.command_line import compose_sweep
from harness.launch.launcher import Ended
from harness.records import Measurement, Record, append_jsonl, write_record
from harness.search.driver import Driver
from harness.search.sweep_folder import SweepFolder
from harness.trials.job import Job

MARKS = (100, 1000, 10000)
EVALUATIONS = 3  # a trial: as many rungs


class Instant:
    """Launcher without training: each poll ends one trial with a simulated record."""

    def __init__(self, watch: Watch) -> None:
        self._running: list[tuple[Path, Job]] = []
        self._watch = watch

    def start(self) -> None: ...

    def close(self) -> None: ...

    def has_room(self) -> bool:
        return not self._running

    def submit(self, folder: Path, spec: dict[str, Any]) -> None:
        with self._watch.of("worker"):
            job = Job.from_json(spec)
            quality, forgetting = landscape(asdict(job.config))
            rows = [
                {
                    "kind": "evaluation",
                    "step": step,
                    "measurements": {
                        "validation.perplexity": 60 - quality + EVALUATIONS - step,
                        "forgetting.kl": forgetting * step / EVALUATIONS,
                    },
                }
                for step in range(1, EVALUATIONS + 1)
            ]
            append_jsonl(folder / "metrics.jsonl", rows)
        self._running.append((folder, job))

    def poll(self) -> list[Ended]:
        folder, job = self._running.pop()
        with self._watch.of("worker"):
            write_record(folder, record_of(job))
        return [Ended(folder)]


class Watch:
    """Seconds by who spent them, and lines of the table at each mark."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self.began = time.process_time()
        self.done = 0
        self._last = (0, 0.0, {})
        self._depth = 0

    @contextmanager
    def of(self, who: str) -> Any:
        """Time what is inside, unless it is inside of something timed already."""
        self._depth += 1
        began = time.process_time()
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth == 0:
                self.spent[who] += time.process_time() - began

    def time(self, owner: Any, name: str, who: str) -> None:
        inner = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.of(who):
                return inner(*args, **kwargs)

        setattr(owner, name, timed)

    # what a driver tells its watcher
    def started(self, job: Job) -> None: ...

    def moved(self, job: Job, row: dict[str, Any]) -> None: ...

    def phase(self, text: str, trials: int) -> None: ...

    def ended(self, record: Record) -> None:
        self.done += 1
        window = 50 if self.done <= 100 else self.done // 10  # of the last trials before the mark
        if self.done in [mark - (50 if mark == 100 else mark // 10) for mark in MARKS]:
            self._last = (self.done, time.process_time(), dict(self.spent))
        if self.done in MARKS:
            done, began, spent = self._last
            n = self.done - done
            whole = time.process_time() - began
            parts = {who: (self.spent[who] - spent.get(who, 0.0)) / n for who in self.spent}
            ours = whole / n - sum(parts.values())
            memory = rss_mb()
            print(
                f"{self.done:>7,} {1000 * ours:>9.1f} {1000 * parts.get('sampler', 0):>9.1f} "
                f"{1000 * parts.get('storage', 0):>9.1f} {1000 * parts.get('worker', 0):>9.1f} "
                f"{memory:>8.0f}   {n} trials before it",
                flush=True,
            )
        del window


def landscape(config: dict[str, Any]) -> tuple[float, float]:
    """Simulate scores with a best rate, a cost of rank, and noise fixed by the configuration."""
    rate = math.log10(config["training"]["learning_rate"])
    rank = config["method"].get("r") or 1
    noise = random.Random(repr((rate, rank))).random()
    return 40 - 8 * (rate + 2.6) ** 2 + math.log2(rank) + noise, 0.05 * rank**0.5 + 0.01 * noise


def record_of(job: Job) -> Record:
    config = asdict(job.config)
    quality, forgetting = landscape(config)
    return Record(
        status="complete",
        stage=job.config.stage,
        method=job.method,
        trial=job.trial,
        attempt=job.attempt,
        fingerprint=job.fingerprint,
        configuration=job.configuration,
        seed=job.config.seed,
        config=config,
        overrides=list(job.overrides),
        measurements={
            "validation.bleu": Measurement(quality, "points", 4, None, "made up"),
            "forgetting.kl": Measurement(forgetting, "nats", 4, None, "made up"),
        },
        cost={"train_seconds": 1.0, "trainable_parameters": 100.0},
        provenance={"search_space": dict(job.searched)},
    )


def rss_mb() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--sampler", default="tpe")
    parser.add_argument("--methods", default="lora")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        run(options.methods, options.sampler, options.trials)


def run(methods: str, sampler: str, trials: int) -> None:
    n = trials // len(methods.split(","))
    asked = [f"method={methods}", "name=many", f"search.trials={n}", f"search.sampler={sampler}"]
    asked += ["search.pruner=asha", "confirm.finalists=2", "confirm.seeds=1", "tracking=none"]
    asked += ["training.learning_rate=tag(log,interval(1e-5,1e-1))"]
    sweep, plans = compose_sweep(asked)
    watch = Watch()
    watch.time(optuna.Study, "ask", "sampler")  # with what it stores meanwhile
    watch.time(optuna.Study, "tell", "storage")
    for name in ("enqueue_trial",):
        watch.time(optuna.Study, name, "storage")
    watch.time(optuna.trial.Trial, "set_user_attr", "storage")
    print(f"{sampler}: milliseconds a trial, and memory in MB")
    print(f"{'trials':>7} {'ours':>9} {'ask':>9} {'tell':>9} {'worker':>9} {'memory':>8}")
    models = {plan.method: "model" for plan in plans}
    for attempt in ("first", "again"):
        folder = SweepFolder(sweep)
        folder.open()
        began = time.process_time()
        watch.done = 0 if attempt == "first" else -(10**9)
        records = Driver(
            sweep, plans, folder, Instant(watch), watch, models=models, data="data"
        ).run()
        seconds = time.process_time() - began
        folder._lock.close()
        what = "the whole sweep" if attempt == "first" else "the same command again: nothing to do"
        print(f"{what}: {seconds:.1f} s, {len(records):,} records, {rss_mb():.0f} MB", flush=True)
    rungs = Path("runs/many/rungs.jsonl")
    lines = rungs.read_text().count("\n")
    print(json.dumps({"rungs": lines, "rungs_bytes": rungs.stat().st_size}))


if __name__ == "__main__":
    main()
