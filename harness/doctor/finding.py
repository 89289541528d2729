"""Findings of the doctor, and the configuration that they concern."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from harness.config import SweepConfig, TrialConfig

OK: Final = "ok"
WARN: Final = "warn"
FAIL: Final = "FAIL"
MISSING = "missing"  # in place of a version


class Line(NamedTuple):
    """One thing that was looked at."""

    subject: str
    verdict: Literal["ok", "warn", "FAIL"]
    fact: str


@dataclass(frozen=True)
class Setup:
    """One configuration and its requirements on the machine."""

    sweep: SweepConfig
    trials: tuple[TrialConfig, ...]  # the default trial of each method
    default_objectives: bool  # none configured

    @property
    def first(self) -> TrialConfig:
        return self.trials[0]

    @cached_property
    def quantizations(self) -> set[str]:
        from harness import methods

        own = [methods.build(trial.method).base_quantization for trial in self.trials]
        return {q.kind for q in own if q is not None} | {
            trial.model.quantization for trial in self.trials
        } - {"none"}

    @cached_property
    def optimizers(self) -> set[str]:
        return {trial.training.optimizer for trial in self.trials}

    @cached_property
    def packages(self) -> set[str]:
        """The optional packages that the sweep needs."""
        eight_bit = any("8bit" in name or "paged" in name for name in self.optimizers)
        needed = {"bitsandbytes"} if self.quantizations or eight_bit else set()
        evaluation = self.first.evaluation
        return needed | ({"lm-eval"} if evaluation.tasks or evaluation.task_folder else set())

    @cached_property
    def device(self) -> str:
        import torch

        return "cuda:0" if torch.cuda.is_available() else "cpu"


def tried(name: str, needed: bool, attempt: Callable[[], str]) -> Line:
    try:
        return Line(name, OK, attempt())
    except Exception as error:  # any error of a backend
        why = f"{type(error).__name__}: {first_line(error)}"
        if needed:
            return Line(name, FAIL, why)
        return Line(name, WARN, f"{why} (not needed here)")


def within(seconds: float | None, ask: Callable[[], Any]) -> Any:
    """Return or raise what ``ask`` does. TimeoutError after ``seconds``, name look-ups included."""
    if seconds is None:
        return ask()
    answer: dict[str, Any] = {}

    def run() -> None:
        try:
            answer["value"] = ask()
        except BaseException as error:
            answer["error"] = error

    asking = threading.Thread(target=run, daemon=True)
    asking.start()
    asking.join(seconds)
    if "error" in answer:
        raise answer["error"]
    if "value" not in answer:
        raise TimeoutError(f"no answer in {seconds:g} s")
    return answer["value"]


def version_of(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return MISSING


def existing(path: Path) -> Path:
    """Return ``path`` or its nearest existing parent."""
    path = path.expanduser().resolve()
    return next(folder for folder in (path, *path.parents) if folder.exists())


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
