"""Settings of a sweep around its trials: search, confirmation, limits, report, tracking, launcher."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

from harness.config.database_url import keep_whole
from harness.config.strict import require
from harness.language import Language

Direction = Literal["maximize", "minimize"]
SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
DEVICE_HOURS = "gpuh"
# That of launcher.price_per_hour is meant; the name is for people.
CURRENCIES = ("usd", "eur", "gbp", "chf", "jpy", "cny", "inr", "krw", "cad", "aud", "brl", "sek")
ACCEPTED = (
    "a time (90s, 30m, 2h, 1h30m, 1d), device-hours (8gpuh) or money (20usd, at "
    "launcher.price_per_hour), above 0; with + in front, so much more for a sweep that has ended"
)
_PART = r"(\d+(?:\.\d+)?)(s|min|m|h|d)"
_AMOUNT = rf"(\d+(?:\.\d+)?)({'|'.join((DEVICE_HOURS, *CURRENCIES))})"


@dataclass(frozen=True)
class Allowance:
    """An amount to spend."""

    text: str  # as typed
    kind: Literal["time", "devices", "money"]
    amount: float  # seconds by the clock, hours of a device, or money
    more: bool  # True: in addition to the amount already spent

    def device_hours(self, price_per_hour: float | None) -> float:
        """Return the hours of a device that it pays for; not of a time by the clock."""
        assert self.kind != "time"
        return self.amount if self.kind == "devices" else self.amount / (price_per_hour or 1.0)


def allowance(text: str, price_per_hour: float | None = None) -> Allowance:
    """Parse ``budget=``. Raises InputError for anything that is no amount, or money without a price."""
    bare = text.strip().lower()
    more, bare = bare.startswith("+"), bare.removeprefix("+")
    of_time = re.fullmatch(rf"(?:{_PART})+", bare)
    other = re.fullmatch(_AMOUNT, bare)
    require(bool(of_time or other), "budget", text, ACCEPTED)
    if other is None:
        seconds = sum(float(number) * SECONDS[unit] for number, unit in re.findall(_PART, bare))
        found = Allowance(text.strip(), "time", seconds, more)
    else:
        kind = "devices" if other[2] == DEVICE_HOURS else "money"
        found = Allowance(text.strip(), kind, float(other[1]), more)
    require(found.amount > 0, "budget", text, ACCEPTED)
    if found.kind == "money":
        accepted = "a time or device-hours while launcher.price_per_hour is null: set the price"
        require(bool(price_per_hour), "budget", text, accepted)
    return found


@dataclass(frozen=True)
class SearchConfig:
    """First stage: the proposal of configurations. The budget is per method."""

    trials: int
    seconds: float | None  # of training, in all finished trials of a method; null: no limit
    tokens: float | None  # trained on, likewise
    gpu_hours: float | None  # of whole trials, likewise, counted on their devices
    sampler: Literal["tpe", "random", "grid", "qmc", "gp", "cmaes", "nsga2"]
    warm_start: list[str]  # folders of earlier sweeps whose trials the sampler is shown first
    configs: list[Mapping[str, Any]]  # tried first, by every method that searches their keys
    stop: Literal["none", "expected"]  # expected: end when no better trial is expected
    stop_trials: int  # several objectives: over this many trials
    stop_share: float  # the hypervolume of the front grew by less than this share
    pruner: Literal["none", "asha"]
    reduction_factor: int  # asha: one in this many continues at each rung
    grace_evaluations: int  # asha: no trial is stopped before this many evaluations
    tie_break: Literal[
        "near_best", "crowding", "epsnet"
    ]  # asha: order of the trials on the front that is cut
    storage: str | None  # a database's URL, without user and password; null: a file in the folder

    def __post_init__(self) -> None:
        require(self.trials >= 1, "search.trials", self.trials, "at least 1")
        for name in ("seconds", "tokens", "gpu_hours"):
            value = getattr(self, name)
            require(value is None or value > 0, f"search.{name}", value, "null or above 0")
        require(self.stop_trials >= 1, "search.stop_trials", self.stop_trials, "at least 1")
        require(self.stop_share >= 0, "search.stop_share", self.stop_share, "0 or more")
        require(self.reduction_factor >= 2, "search.reduction_factor", self.reduction_factor, "≥ 2")
        require(
            self.grace_evaluations >= 1, "search.grace_evaluations", self.grace_evaluations, "≥ 1"
        )
        if self.storage is not None:  # a password must not be recorded
            object.__setattr__(self, "storage", keep_whole(self.storage))


@dataclass(frozen=True)
class ConfirmConfig:
    """Second stage: the number of configurations per method to repeat, and of seeds."""

    finalists: int
    seeds: int
    margin: float | None  # in quality: this much below the best is as good; null: by the metric

    def __post_init__(self) -> None:
        margin = self.margin
        require(margin is None or margin >= 0, "confirm.margin", margin, "null, or 0 or more")
        require(self.finalists >= 0, "confirm.finalists", self.finalists, "0 (no stage) or more")
        require(self.seeds >= 1, "confirm.seeds", self.seeds, "at least 1")


@dataclass(frozen=True)
class LimitsConfig:
    """Upper limits on the cost of a configuration; null for no limit."""

    peak_memory_gb: float | None
    forgetting: float | None  # of the objective that names forgetting, in its unit
    minutes: float | None  # of training
    trainable_parameters: int | None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            require(value is None or value > 0, f"limits.{field.name}", value, "null or above 0")


@dataclass(frozen=True)
class ReportConfig:
    """The report that a sweep ends with."""

    language: Language
    large_forgetting: (
        float | None
    )  # factor on general perplexity that the headline states; null: none

    def __post_init__(self) -> None:
        limit = self.large_forgetting
        accepted = "null, or a factor above 1 on the perplexity of general text"
        require(limit is None or limit > 1, "report.large_forgetting", limit, accepted)


@dataclass(frozen=True)
class TrackingConfig:
    """Tracking service that records are mirrored to."""

    name: Literal["none", "wandb"]
    mode: Literal["offline", "online"]
    project: str
    entity: str | None

    def __post_init__(self) -> None:
        refused = set(self.project) & set("/\\#?%:")
        require(
            bool(self.project.strip()) and len(self.project) <= 128 and not refused,
            "tracking.project",
            self.project,
            "1 to 128 characters without / \\ # ? % : (the team is tracking.entity)",
        )


@dataclass(frozen=True)
class LauncherConfig:
    """Placement of jobs. Nothing here changes a result."""

    BY_NAME: ClassVar[dict[str, type]] = {}  # name → class with further fields

    name: str  # one of harness.launch.choose.LAUNCHERS
    workers: int | None  # null: one for each device, one on a CPU
    devices: list[int] | None  # GPU indices; null: all visible ones
    devices_per_trial: int  # that train one trial together, data parallel; a CPU: processes
    sharding: Literal["none", "fsdp"]  # fsdp: each device holds a part of the model
    threads: int | None  # CPU threads of a worker; null: cores / workers
    pack: Literal["auto"] | int  # search trials that a worker trains together, at most
    isolate: bool  # a fresh process for every trial
    retries: int  # further attempts at a trial whose worker crashed or was killed
    heartbeat_minutes: float | None  # without any progress, after which it is killed; null: never
    measure: bool  # run a few steps of each method first, to learn what fits and how long it takes
    price_per_hour: float | None  # of one device, in any currency; null: no price is printed

    def __post_init__(self) -> None:
        for name in ("workers", "threads"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"launcher.{name}", value, "null or at least 1")
        n = self.devices_per_trial
        require(n >= 1, "launcher.devices_per_trial", n, "at least 1")
        accepted = "none if launcher.devices_per_trial=1: there is no other device"
        require(self.sharding == "none" or n > 1, "launcher.sharding", self.sharding, accepted)
        require(
            self.pack == "auto" or self.pack >= 1, "launcher.pack", self.pack, "auto or at least 1"
        )
        require(self.retries >= 0, "launcher.retries", self.retries, "0 or more")
        minutes = self.heartbeat_minutes
        accepted = "null or above 0"
        require(minutes is None or minutes > 0, "launcher.heartbeat_minutes", minutes, accepted)
        price = self.price_per_hour
        require(price is None or price >= 0, "launcher.price_per_hour", price, "null or 0 or more")


@dataclass(frozen=True)
class SweepConfig:
    """One sweep: the same base, data, evaluation and budget for each of several methods."""

    name: str
    seed: int
    plan: bool
    budget: (
        str | None
    )  # of all of it: '2h', '8gpuh', '20usd', '+30m'; null: search and confirm decide
    runs_dir: str
    reports_dir: str
    objectives: Mapping[str, Direction]  # measurement → direction; the first is 'quality'
    search: SearchConfig
    confirm: ConfirmConfig
    limits: LimitsConfig
    report: ReportConfig
    tracking: TrackingConfig
    launcher: LauncherConfig

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**31, "seed", self.seed, "in [0, 2³¹)")  # confirm adds to it
        if self.budget is not None:
            self._check_budget(self.budget)

    @property
    def allowance(self) -> Allowance | None:
        """Return what ``budget`` allows."""
        price = self.launcher.price_per_hour
        return None if self.budget is None else allowance(self.budget, price)

    def _check_budget(self, budget: str) -> None:
        """Raise InputError for settings with which no budget can be kept."""
        found = allowance(budget, self.launcher.price_per_hour)
        accepted = "null with launcher.{}: a budget is divided by the measured costs of a few steps"
        for key, good in (
            ("measure=false", self.launcher.measure),
            (f"sharding={self.launcher.sharding}", self.launcher.sharding == "none"),
        ):
            require(good, "budget", budget, accepted.format(key))
        finalists = self.confirm.finalists
        accepted = (
            "without + where confirm.finalists=0: there are no finalists to run more seeds of"
        )
        require(finalists > 0 or not found.more, "budget", budget, accepted)
        accepted = "without + where plan=true: a plan is made before a sweep begins"
        require(not (self.plan and found.more), "budget", budget, accepted)
