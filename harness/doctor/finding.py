"""Finding of a check, and the configuration that is checked."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from harness.config import SweepConfig, TrialConfig
from harness.errors import first_line

OK: Final = "ok"
WARN: Final = "warn"
FAIL: Final = "FAIL"
LONGEST = 200  # characters of an error message to show
MISSING = "missing"  # instead of a version


class Finding(NamedTuple):
    """Result of one check."""

    subject: str  # name of the checked part, such as 'gpu 0'
    verdict: Literal["ok", "warn", "FAIL"]
    fact: str


@dataclass(frozen=True)
class Setup:
    """Configuration whose requirements are checked."""

    sweep: SweepConfig
    trials: tuple[TrialConfig, ...]  # the default trial of each method
    default_objectives: bool  # True if no objectives are configured

    @property
    def first(self) -> TrialConfig:
        """Default trial of the first method."""
        return self.trials[0]

    @cached_property
    def quantizations(self) -> set[str]:
        """Quantizations that the methods or the model configuration need."""
        from harness import methods

        own = [methods.build(trial.method).base_quantization for trial in self.trials]
        return {q.kind for q in own if q is not None} | {
            trial.model.quantization for trial in self.trials
        } - {"none"}

    @cached_property
    def optimizers(self) -> set[str]:
        """Names of the configured optimizers."""
        return {trial.training.optimizer for trial in self.trials}

    @cached_property
    def packages(self) -> set[str]:
        """Optional packages that the sweep needs."""
        eight_bit = any("8bit" in name or "paged" in name for name in self.optimizers)
        needed = {"bitsandbytes"} if self.quantizations or eight_bit else set()
        evaluation = self.first.evaluation
        return needed | ({"lm-eval"} if evaluation.tasks or evaluation.task_folder else set())

    @cached_property
    def device(self) -> str:
        """Device to test on: the first GPU, or the CPU."""
        import torch

        return "cuda:0" if torch.cuda.is_available() else "cpu"


def attempt_finding(name: str, needed: bool, attempt: Callable[[], str]) -> Finding:
    """Run ``attempt`` and return its description as a finding.

    An error is FAIL if the feature is ``needed``, else a warning.
    """
    try:
        return Finding(name, OK, attempt())
    except Exception as error:  # backends raise many kinds of errors
        reason = f"{type(error).__name__}: {first_line(error)[:LONGEST]}"
        if needed:
            return Finding(name, FAIL, reason)
        return Finding(name, WARN, f"{reason} (not needed here)")


def within(seconds: float | None, ask: Callable[[], Any]) -> Any:
    """Return the result of ``ask``, or raise its error.

    Raises TimeoutError after ``seconds`` (None: no limit). Name look-ups count too.
    """
    if seconds is None:
        return ask()
    answer: dict[str, Any] = {}

    def run() -> None:
        try:
            answer["value"] = ask()
        except BaseException as error:
            answer["error"] = error

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if "error" in answer:
        raise answer["error"]
    if "value" not in answer:
        raise TimeoutError(f"no answer in {seconds:g} s")
    return answer["value"]


def version_of(package: str) -> str:
    """Return the installed version of a package, or ``MISSING``."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return MISSING


def existing(path: Path) -> Path:
    """Return ``path`` or its nearest existing parent."""
    path = path.expanduser().resolve()
    return next(folder for folder in (path, *path.parents) if folder.exists())
