"""``python -m harness.trial method=lora method.r=8``: one trial by hand, in this process.

Every row of a report prints such a command. It leaves the same folder as a trial of a sweep, under
``runs/NAME`` (by-hand if no name= is given), and goes on from its checkpoint if it was stopped.
With ``'sequence=[builtin,builtin_domain]'`` it is tuned on one data set after another.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import InputError
from harness.paths import user_path
from harness.trials.by_hand.show_record import say_without, show

if TYPE_CHECKING:
    from harness.compose.method_plan import MethodPlan

USAGE = """\
Run one trial by hand, in this process. Every row of a report prints such a command.

  python -m harness.trial method=lora method.r=8 training.learning_rate=1e-3
  python -m harness.trial method=full seed=3 stage=confirm        with the test split
  python -m harness.trial method=lora 'sequence=[builtin,builtin_domain]' measure=bleu

Every key takes one value; ranges belong to a sweep. name= is the folder under runs_dir (by-hand).
sequence= tunes on one data set after another and scores all of them after each; measure= says by
what. The same command goes on where it was stopped, and shows the record of a trial that is done.

exit codes: 0 done, 1 not complete, 2 wrong input, 75 preempted or the disk is full, 130 stopped"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 1 not complete, 2 the input, 75 preempted or the disk is full, 130 stopped;
    after the last three the same command goes on."""
    try:
        return run(list(sys.argv[1:] if arguments is None else arguments))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before anything ran
        return 130
    except Exception as error:
        from harness.records.disk_full import disk_full_message

        said = disk_full_message(error)
        if said is None:
            raise
        print(said, file=sys.stderr)
        return 75


def run(arguments: Sequence[str]) -> int:
    from harness import sequence
    from harness.compose.command_line import compose_trial, hydra_asked, show_hydra

    if sequence.is_sequence(arguments):
        return sequence.run(arguments, run_plan, USAGE)
    if hydra_asked(arguments):
        show_hydra(arguments, USAGE)
        return 0
    plan, tree = compose_trial(arguments)
    record, folder = run_plan(plan, tree)
    if isinstance(record, int):
        return record
    show(record, folder)
    return 0 if record.status == "complete" else 1


def run_plan(plan: MethodPlan, tree: Mapping[str, Any]) -> tuple[Any, Path]:
    """Return the record of one trial, run now or found, and its folder. Raises InputError.

    If the run was asked to stop, the exit code takes the place of the record.
    """
    from harness.config import LauncherConfig, LimitsConfig
    from harness.config.strict import from_mapping
    from harness.data.rows.splits import read_splits
    from harness.launch.local import visible_devices
    from harness.models.load import check_model, pinned_revision, stored_fingerprint
    from harness.records import read_record
    from harness.records.disk_usage import make_writable
    from harness.records.fingerprint import fingerprints
    from harness.trials.job import Job

    config = plan.trial({})
    check_model(config.model)
    plan = plan.pinned(pinned_revision(config.model))
    config = plan.trial({})
    splits = read_splits(config.data)
    hashes = fingerprints(config, model=stored_fingerprint(config.model), data=splits.fingerprint)
    root = user_path(tree["runs_dir"])
    sweep = root / tree["name"]
    folder = sweep / "trials" / plan.method / hashes.trial
    record = read_record(folder)
    if record is None:
        if (sweep / "sweep.yaml").exists():
            raise InputError(f"name={sweep.name!r}: {sweep} is a sweep's, and has no such trial.")
        make_writable("runs_dir", folder)
        say_without(splits, config)
        job = Job(
            folder=str(folder),
            cache=str(root / ".cache"),
            method=plan.method,
            config=config,
            limits=from_mapping(LimitsConfig, tree["limits"], "limits"),
            trial=0,
            attempt=1,
            fingerprint=hashes.trial,
            configuration=hashes.configuration,
            overrides=(*plan.overrides, f"seed={config.seed}", f"stage={config.stage}"),
            searched={},
            asks_pruner=False,
            keep_adapter=True,
        )
        launcher = from_mapping(LauncherConfig, tree["launcher"], "launcher")
        print(f"{folder}: {plan.method} on {config.model.name}, seed {config.seed}", flush=True)
        record = _run(job, "cuda:0" if visible_devices() else "cpu", launcher.threads)
    else:
        print(f"{folder}: this trial is done already; its record is shown.")
    return record, folder


def _run(job: Any, device: str, threads: int | None) -> Any:
    """Run the trial; return its record, or the exit code if it was asked to stop."""
    from harness.launch.libraries import quiet_libraries

    quiet_libraries()
    import torch

    from harness.training.loop import Interrupted
    from harness.trials.run import Workbench, run_trial

    if threads is not None:
        torch.set_num_threads(threads)
    stopped: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda signum, frame: stopped.append(signum))
    try:
        return run_trial(job, Workbench(device, Path(job.cache)), stopping=lambda: bool(stopped))
    except Interrupted as stop:
        print(f"{stop}; a checkpoint is written. The same command goes on from there.")
        return 75 if signal.SIGTERM in stopped else 130


if __name__ == "__main__":
    sys.exit(main())
