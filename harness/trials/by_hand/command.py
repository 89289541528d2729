"""Trials and scorings that a person asks for: the one place that makes a job of a command line."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config import LauncherConfig, LimitsConfig, TrialConfig
from harness.config.strict import from_mapping
from harness.data.rows.files.web_pages import describe_pages
from harness.data.rows.splits import Splits, read_splits
from harness.errors import InputError, Stopped
from harness.models.loading.base_card import fetch_base_card
from harness.models.loading.base_fingerprint import stored_fingerprint
from harness.models.loading.location import check_model, pinned_revision
from harness.paths import user_path
from harness.records import Record, read_record
from harness.records.disk_usage import make_writable
from harness.records.fingerprint import fingerprints
from harness.terminal.phases import phase
from harness.terminal.remarks import LOG, keep_remarks
from harness.trials.by_hand.saved_adapter import read_saved
from harness.trials.by_hand.show_record import say_without
from harness.trials.job import Job

if TYPE_CHECKING:
    from harness.compose.method_plan import MethodPlan
    from harness.trials.workbench import Workbench


@dataclass(frozen=True)
class Command:
    """One trial or scoring as a command line describes it."""

    job: Job
    splits: Splits
    threads: int | None  # of a CPU; None for torch's own number
    done: Record | None  # left by the same command before

    @classmethod
    def of(
        cls, config: TrialConfig, method: str, overrides: Sequence[str], tree: Mapping[str, Any]
    ) -> Command:
        """Read the data and look for the record. ``tree`` is everything composed. Raises InputError."""
        with phase("reading the data"):
            splits = read_splits(config.data)
        with phase("reading the model's files, for its fingerprint"):
            model = stored_fingerprint(config.model)
        hashes = fingerprints(config, model=model, data=splits.fingerprint)
        root = user_path(tree["runs_dir"])
        folder = root / tree["name"] / "trials" / method / hashes.trial
        job = Job(
            folder=str(folder),
            cache=str(root / ".cache"),
            method=method,
            config=config,
            limits=from_mapping(LimitsConfig, tree["limits"], "limits"),
            fingerprint=hashes.trial,
            configuration=hashes.configuration,
            overrides=(*overrides, f"seed={config.seed}", f"stage={config.stage}"),
            keep_adapter=True,
        )
        launcher = from_mapping(LauncherConfig, tree["launcher"], "launcher")
        return cls(job, splits, launcher.threads, read_record(folder))

    def bench(self, device: str) -> Workbench:
        """Return a workbench for the job, after the last checks. Raises InputError."""
        make_writable("runs_dir", self.job.path)
        keep_remarks(self.job.path)
        say_without(self.splits, self.job.config)
        pages = describe_pages(self.job.config.data)
        if pages is not None:
            print(pages)
        with phase("importing torch and transformers"):
            import torch
            import transformers.modeling_utils  # noqa: F401

            from harness.trials.workbench import Workbench

        if self.threads is not None:
            torch.set_num_threads(self.threads)
        return Workbench(device, Path(self.job.cache))


def tune(plan: MethodPlan, tree: Mapping[str, Any], device: str) -> tuple[Record, Path]:
    """Return the record of one trial, run now or found, and its folder.

    Raises InputError, and Stopped at SIGINT and SIGTERM.
    """
    plan = pinned(plan)
    command = Command.of(plan.trial({}), plan.method, plan.overrides, tree)
    job, folder = command.job, command.job.path
    if command.done is not None:
        print(f"{folder}: already done; the record of the trial is shown.")
        return command.done, folder
    sweep = folder.parents[2]
    if (sweep / "sweep.yaml").exists():
        raise InputError(f"name={sweep.name!r}: {sweep} is a sweep's, and has no such trial.")
    with nothing_left(folder):
        return _tuned(job, command.bench(device)), folder


def _tuned(job: Job, bench: Workbench) -> Record:
    """Run the trial until it ends or a signal stops it. Raises Stopped."""
    folder = job.path
    print(f"{folder}: {job.method} on {job.config.model.name}, seed {job.config.seed}", flush=True)

    from harness.training.loop import Interrupted
    from harness.trials.run import run_trial

    stopped: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda signum, frame: stopped.append(signum))
    try:
        return run_trial(job, bench, stopping=lambda: bool(stopped))
    except Interrupted as stop:
        said = f"{stop}. The same command goes on from the last checkpoint."
        raise Stopped(said, 75 if signal.SIGTERM in stopped else 130) from stop


def score(
    plan: MethodPlan, tree: Mapping[str, Any], adapter: str | None, device: str
) -> tuple[Record, Path]:
    """Return the record of a saved adapter or model, or of the untouched base, and its folder.

    It is measured now or found. Raises InputError.
    """
    saved = None if adapter is None else read_saved(adapter)
    plan = pinned(plan)
    kind = "base" if saved is None else saved.kind
    method = {"name": kind, "adapter": None if saved is None else saved.fingerprint}
    named = [] if adapter is None else [f"adapter={adapter}"]
    own = [text for text in plan.overrides if not text.startswith("method=")]
    command = Command.of(replace(plan.trial({}), method=method), kind, [*named, *own], tree)
    folder = command.job.path
    if command.done is not None:
        print(f"{folder}: already measured; the record is shown.")
        return command.done, folder
    with nothing_left(folder):
        bench = command.bench(device)

        from harness.trials.by_hand.score_adapter import run_score

        scored = run_score(command.job, bench, saved)
    for doubt in scored.doubts:
        print(f"Note: {doubt}.", file=sys.stderr)
    return scored.record, folder


@contextmanager
def nothing_left(folder: Path) -> Iterator[None]:
    """Context in which an InputError deletes the trial's ``folder``, if no results are in it."""
    try:
        yield
    except InputError:
        with suppress(OSError):  # a folder with anything in it stays
            (folder / LOG).unlink(missing_ok=True)
            for empty in (folder, *list(folder.parents)[:3]):
                empty.rmdir()
        raise


def pinned(plan: MethodPlan) -> MethodPlan:
    """Check the model, and return ``plan`` with its present revision. Raises InputError."""
    model = plan.trial({}).model
    with phase("looking up the model"):
        check_model(model)
        plan = plan.pinned(pinned_revision(model))
        fetch_base_card(plan.trial({}).model)
        return plan
