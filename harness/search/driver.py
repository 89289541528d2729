"""The driver of a sweep: search, then confirmation. Only this process writes the sweep's folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.compose.method_plan import MethodPlan
from harness.compose.override_grammar import shown
from harness.config import SweepConfig
from harness.config.search_space import value_at
from harness.launch.launcher import Launcher
from harness.records import (
    Record,
    read_record,
)
from harness.records.fingerprint import fingerprints
from harness.search.early_stop import Stopping
from harness.search.finalists import finalists
from harness.search.funds import AsConfigured, Funds
from harness.search.method_search import MethodSearch
from harness.search.optuna_studies.storage import open_storage
from harness.search.optuna_studies.study import MethodStudy
from harness.search.optuna_studies.warm_start import Rows, as_trials, earlier_rows
from harness.search.packs import pack_sizes
from harness.search.planning.ask_worker import check_configs
from harness.search.planning.needs import UNKNOWN, MethodMemory
from harness.search.running_trials import RunningTrials
from harness.search.screen.spending import seconds_of
from harness.search.sweep_folder import SweepFolder, confirm_seed
from harness.search.watcher import Watcher
from harness.trials.job import Job


class Driver:
    """Searches, then confirms the finalists. The folder holds all state needed for a restart."""

    def __init__(
        self,
        sweep: SweepConfig,
        plans: Sequence[MethodPlan],
        folder: SweepFolder,
        launcher: Launcher,
        watcher: Watcher,
        *,
        models: Mapping[str, str],  # method → fingerprint of its model
        data: str,  # fingerprint of the data
        funds: Funds | None = None,  # None: trials and seeds as configured
    ) -> None:
        self._sweep, self._plans, self._folder = sweep, plans, folder
        self._funds = funds or AsConfigured(sweep)
        self._launcher, self._watcher = launcher, watcher
        self._models, self._data = models, data
        self._needs: dict[str, MethodMemory] = {}
        self._trials = RunningTrials(sweep, folder, launcher, watcher)

    def run(
        self,
        needs: Mapping[str, MethodMemory] | None = None,
        at_the_end: Callable[[], None] = lambda: None,
    ) -> list[Record]:
        """Run the sweep and return its records.

        ``needs`` holds memory by method: configurations that do not fit are not started.
        ``at_the_end`` is called once a worker is idle while the last trials run. Raises InputError
        for faults that only a trial reveals.
        """
        self._at_the_end = at_the_end
        self._needs = {plan.method: (needs or {}).get(plan.method, UNKNOWN) for plan in self._plans}
        self._plans = [self._needs[plan.method].cut(plan) for plan in self._plans]
        self._trials.needs = self._needs
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
        """Check every method's defaults and the ends of its search space on the model without weights.

        Returns counts that the plan shows. Raises InputError before anything is trained.
        """
        _ = self._storage, self._earlier  # fail early if these cannot be read
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
        self._watcher.phase("search", None if self._funds.open else sum(budgets.values()))
        searches = {plan.method: self._recovered(plan, budgets) for plan in self._plans}
        packs = pack_sizes(self._sweep, self._plans, self._needs, self._launcher.sharing)

        def next_jobs() -> list[Job]:
            """Return a task of the least advanced method, so that an interrupted sweep is balanced.

            Of several the one with the longest trials, so that workers end at about the same time.
            """
            each = self._funds.trials(max(search.begun for search in searches.values()))
            for method in sorted(
                searches, key=lambda m: (searches[m].begun, -self._needs[m].trial_seconds)
            ):
                left = min(each, budgets[method]) - searches[method].begun
                for_a_worker = -(-left // self._launcher.size)
                size = max(1, min(packs[method], for_a_worker))
                if jobs := searches[method].next_jobs(each, size):
                    return jobs
            return []

        while True:
            while self._trials.has_room() and (jobs := next_jobs()):
                self._trials.submit(jobs)
            if not self._trials:
                break
            for job, record in self._trials.ended():
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
            # The longest first, so that the workers end at about the same time.
            order = sorted(
                zip(chosen, seeds, strict=True), key=lambda each: -_own_seconds(each[0][1])
            )
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
                )  # the first seed of all finalists first, to compare them early
                for (plan, finalist, place), n in order
                if i < n
            ]
            self._run_round([job for job in jobs if job.path not in known])
            known |= {job.path for job in jobs}

    def _run_round(self, jobs: Sequence[Job]) -> None:
        """Run the ``jobs`` without a record until all have ended."""
        self._watcher.phase("confirm", len(jobs))
        waiting = []
        for job in jobs:
            record = read_record(job.path)
            if record is None:
                waiting.append(job)
            else:
                self._watcher.ended(record)
        while waiting or self._trials:
            while waiting and self._trials.has_room():
                self._trials.submit([waiting.pop(0)])
            if not waiting and self._trials and self._trials.has_room():
                self._at_the_end()
                self._at_the_end = lambda: None
            for _ in self._trials.ended():
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


def _own_seconds(record: Record) -> float:
    """Return the seconds of a trial without those of the untouched base, measured once for all."""
    return seconds_of(record) - record.cost.get("base_seconds", 0.0)
