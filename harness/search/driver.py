"""The driver: one process without torch, the only writer of the sweep's folder."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from harness.compose.method_plan import MethodPlan
from harness.compose.override_grammar import shown
from harness.config import SweepConfig
from harness.config.search_space import value_at
from harness.errors import DiskFull, InputError
from harness.launch.launcher import DISK_FULL, NO_ROOM, Ended, Launcher
from harness.records import (
    Record,
    append_jsonl,
    read_jsonl,
    read_record,
    write_record,
    write_text,
)
from harness.records.disk_full import stopped
from harness.records.disk_usage import tidy
from harness.records.fingerprint import fingerprints
from harness.search.early_stop import Stopping
from harness.search.finalists import finalists
from harness.search.funds import AsConfigured, Funds
from harness.search.method_search import MethodSearch
from harness.search.optuna_studies.storage import open_storage
from harness.search.optuna_studies.study import MethodStudy
from harness.search.optuna_studies.warm_start import Rows, as_trials, earlier_rows
from harness.search.planning.ask_worker import check_configs
from harness.search.planning.needs import UNKNOWN, MethodMemory
from harness.search.pruning.running_curves import Curve, Curves
from harness.search.sweep_folder import SweepFolder, confirm_seed
from harness.search.watcher import Watcher
from harness.trials.job import Job

POLL_SECONDS = 0.03
LOST = "lost.jsonl"  # in a trial's folder: a line for each worker lost during it
NO_ROOM_WHY = (
    "out of memory on one of the trial's devices; with launcher.sharding=fsdp a step is not taken "
    "anew in smaller micro-batches: lower training.batch_size and raise "
    "training.gradient_accumulation_steps by as much"
)


class Driver:
    """Searches, then confirms the finalists. All state needed for a restart lies in the folder."""

    def __init__(
        self,
        sweep: SweepConfig,
        plans: Sequence[MethodPlan],
        folder: SweepFolder,
        launcher: Launcher,
        watcher: Watcher,
        *,
        models: Mapping[str, str],  # method → fingerprint of its model
        data: str,  # fingerprint
        funds: Funds | None = None,  # None: as configured
    ) -> None:
        self._sweep, self._plans, self._folder = sweep, plans, folder
        self._funds = funds or AsConfigured(sweep)
        self._launcher, self._watcher = launcher, watcher
        self._models, self._data = models, data
        self._running: dict[Path, Curve] = {}
        self._needs: dict[str, MethodMemory] = {}
        self._left_out: list[tuple[Job, Record]] = []  # ended without being started
        self._curves = Curves(sweep, folder, watcher.moved)

    def run(self, needs: Mapping[str, MethodMemory] | None = None) -> list[Record]:
        """Run the sweep and return its records. Raises InputError for faults that only a trial reveals.

        ``needs``: memory by method. Configurations that do not fit are not started.
        """
        self._needs = {plan.method: (needs or {}).get(plan.method, UNKNOWN) for plan in self._plans}
        self._plans = [self._needs[plan.method].cut(plan) for plan in self._plans]
        self._search()
        self._confirm()
        return self._folder.all_records([plan.method for plan in self._plans])

    @cached_property
    def _storage(self) -> Any:
        return open_storage(self._sweep, self._folder.path, [plan.method for plan in self._plans])

    @cached_property
    def _earlier(self) -> Rows:
        return earlier_rows(
            folder=self._folder.path,
            sweep=self._sweep,
            plans=self._plans,
            models=self._models,
            data=self._data,
        )

    def check(self) -> dict[str, Any]:
        """Check every method's default and the ends of its search space on the model's skeleton.

        Returns counts to be shown with the plan. Raises InputError before anything is trained.
        """
        _ = self._storage, self._earlier  # fails now if they cannot be read
        configs = [plan.trial({}) for plan in self._plans]
        configs += [
            plan.trial({key: value})
            for plan in self._plans
            for key, dimension in plan.space.items()
            for value in dimension.ends()
            if not key.startswith(("training.", "retention."))
        ]
        opens_test, retries = self._sweep.confirm.finalists > 0, self._sweep.launcher.retries
        return check_configs(self._launcher, self._folder, configs, opens_test, retries)

    def _search(self) -> None:
        budgets = {plan.method: self._funds.most_trials(plan) for plan in self._plans}
        self._watcher.phase("search", sum(budgets.values()))
        searches = {plan.method: self._recovered(plan, budgets) for plan in self._plans}

        def next_job() -> Job | None:
            """Take a job of the least advanced method, so that an interrupted sweep is balanced."""
            each = self._funds.trials(max(search.begun for search in searches.values()))
            for search in sorted(searches.values(), key=lambda search: search.begun):
                if (job := search.next_job(each)) is not None:
                    return job
            return None

        while True:
            while self._launcher.has_room() and (job := next_job()) is not None:
                self._submit(job)
            if not self._running and not self._left_out:
                break
            for job, record in self._wait():
                searches[job.method].take(record)
                self._funds.take(record)

    def _recovered(self, plan: MethodPlan, budgets: Mapping[str, int]) -> MethodSearch:
        def job(values: Any, number: int) -> Job:
            return self._job(plan, values, stage="search", seed=self._sweep.seed, number=number)

        def record(fingerprint: str) -> Record | None:
            return read_record(self._folder.trial(plan.method, fingerprint))

        stopping = Stopping(
            path=self._folder.path / "stopped.json",
            method=plan.method,
            search=self._sweep.search,
            objectives=self._sweep.objectives,
            margin=self._sweep.confirm.margin,
        )
        earlier = as_trials(self._earlier.get(plan.method, []), plan, self._sweep)
        named = [c for c in self._sweep.search.configs if self._needs[plan.method].fits(plan, c)]
        fitting = replace(self._sweep, search=replace(self._sweep.search, configs=named))
        study = MethodStudy(plan, fitting, self._storage, earlier)
        search = MethodSearch(study, self._sweep, budgets[plan.method], job, record, stopping)
        records = self._folder.records(plan.method, "search")
        search.recover(records)
        for each in records:
            self._watcher.ended(each)
        return search

    def _confirm(self) -> None:
        chosen = [
            (plan, finalist, place)
            for plan in self._plans
            for place, finalist in enumerate(
                finalists(self._folder.records(plan.method, "search"), self._sweep)
            )
        ]
        if not chosen:
            return
        known: set[Path] = set()
        for seeds in self._funds.rounds([finalist for _, finalist, _ in chosen]):
            jobs = [
                self._job(
                    plan,
                    {key: value_at(finalist.config, key) for key in plan.space},
                    stage="confirm",
                    seed=confirm_seed(self._sweep, i),
                    number=place + i * self._sweep.confirm.finalists,
                )
                for i in range(
                    max(seeds)
                )  # the first seed of all, so that all can be compared soon
                for (plan, finalist, place), n in zip(chosen, seeds, strict=True)
                if i < n
            ]
            self._run_round([job for job in jobs if job.path not in known])
            known |= {job.path for job in jobs}

    def _run_round(self, jobs: Sequence[Job]) -> None:
        """Run those of ``jobs`` that have no record yet, until all have ended."""
        self._watcher.phase("confirm", len(jobs))
        waiting = []
        for job in jobs:
            record = read_record(job.path)
            if record is None:
                waiting.append(job)
            else:
                self._watcher.ended(record)
        while waiting or self._running:
            while waiting and self._launcher.has_room():
                self._submit(waiting.pop(0))
            for _ in self._wait():
                pass

    def _job(self, plan: MethodPlan, values: Any, *, stage: str, seed: int, number: int) -> Job:
        config = plan.trial(values, seed=seed, stage=stage)
        hashes = fingerprints(config, model=self._models[plan.method], data=self._data)
        overrides = [*plan.overrides, *(f"{key}={shown(value)}" for key, value in values.items())]
        overrides += [f"seed={seed}"] + ([f"stage={stage}"] if stage != "search" else [])
        first_seed = seed == confirm_seed(self._sweep, 0)
        return Job(
            folder=str(self._folder.trial(plan.method, hashes.trial)),
            cache=str(self._folder.cache),
            method=plan.method,
            config=config,
            limits=self._sweep.limits,
            trial=number,
            attempt=1,
            fingerprint=hashes.trial,
            configuration=hashes.configuration,
            overrides=tuple(overrides),
            searched={key: str(dimension) for key, dimension in plan.space.items()},
            asks_pruner=stage == "search" and self._sweep.search.pruner != "none",
            keep_adapter=stage == "confirm" and first_seed,
        )

    def _submit(self, job: Job) -> None:
        job.path.mkdir(parents=True, exist_ok=True)
        dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # a quarter of the time, where built
        text = yaml.dump(asdict(job.config), Dumper=dumper, sort_keys=False, allow_unicode=True)
        write_text(job.path / "config.yaml", text)  # for people: the spec holds the same
        if self._does_not_fit(job):
            return
        job = replace(job, attempt=1 + len(read_jsonl(job.path / LOST)))  # of earlier drivers too
        self._running[job.path] = Curve(job)
        self._launcher.submit(job.path, job.to_json())
        self._watcher.started(job)

    def _does_not_fit(self, job: Job) -> bool:
        """Return whether a trial is known not to fit; it is then recorded without being started."""
        why = self._needs[job.method].too_large(asdict(job.config))
        if why is None or job.config.stage != "search":
            return False
        record = job.record("infeasible", reason=f"not begun: {why}")
        write_record(job.path, record)
        self._left_out.append((job, record))
        return True

    def _wait(self) -> Iterator[tuple[Job, Record]]:
        """Answer the requests of running trials, then yield ended trials with their records."""
        while self._left_out:
            job, record = self._left_out.pop()
            self._watcher.ended(record)
            yield job, record
        for running in self._running.values():
            self._curves.follow(running)
        ended = self._launcher.poll()
        for end in ended:
            running = self._running.pop(end.folder)
            if end.rejected is not None:
                raise InputError(end.rejected)
            record = read_record(end.folder)
            if record is None:
                record = self._lost(running, end)
            if record is not None:
                self._watcher.ended(record)
                yield running.job, record
        if not ended:
            time.sleep(POLL_SECONDS)

    def _lost(self, running: Curve, end: Ended) -> Record | None:
        """Restart a trial from its checkpoint after its worker was lost, at most ``retries`` times."""
        job = running.job
        if end.lost == DISK_FULL:
            raise DiskFull(stopped(job.path))
        if end.lost == NO_ROOM:
            return self._given_up(job, job.record("infeasible", reason=NO_ROOM_WHY))
        why = f"with exit code {end.lost}"
        if end.lost == -9:  # a system that is out of memory sends SIGKILL too
            why += " (killed by hand, with its node, or because memory ran out)"
        if end.oom_killed:
            why = "killed by the system, which had no memory left"
        if end.hung is not None:
            why = f"killed because it hung: no progress for {end.hung:g} minutes"
        append_jsonl(job.path / LOST, [{"attempt": job.attempt, "worker exited": why}])
        if job.attempt > self._sweep.launcher.retries:
            reason = f"its worker exited {job.attempt} times, the last time {why}"
            status = "infeasible" if end.oom_killed else "failed"
            return self._given_up(job, job.record(status, reason=reason))
        self._submit(job)
        return None

    def _given_up(self, job: Job, record: Record) -> Record:
        write_record(job.path, record)
        tidy(job.path)
        return record
