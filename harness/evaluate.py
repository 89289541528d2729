"""``python -m harness.evaluate model=... adapter=FOLDER data=...``: score a saved adapter or model.

``adapter`` is a folder: an adapter saved by peft, ours or anyone's, or the weights of a whole model.
Without one the untouched base is scored. The same code and record as of a trial, the same
``data``, ``evaluation`` and ``stage`` (confirm: the test split); forgetting is against the untouched
base. It leaves a folder under ``runs/evaluated``, and the same command shows its record again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.paths import user_path

USAGE = """\
Score a model that somebody tuned, or the untouched base, with the code and record of a trial.

  python -m harness.evaluate adapter=FOLDER model=hub model.name=Qwen/Qwen3-0.6B data=jsonl \\
      data.train=train.jsonl data.general=wiki.txt
  python -m harness.evaluate model=builtin evaluation.tasks=[arc_easy] stage=confirm

adapter= is a folder: an adapter saved by peft, or the weights of a whole model. Without it the base
is scored. stage=confirm opens the test split. Keys of method, training and search have no meaning
here. The record lies under runs/evaluated, and the same command shows it again.

exit codes: 0 done, 2 wrong input, 130 stopped"""

IDLE = ("method", "training", "retention", "search", "confirm", "limits", "tuned")


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 done, 2 invalid input, 130 stopped."""
    try:
        return run(list(sys.argv[1:] if arguments is None else arguments))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def run(arguments: Sequence[str]) -> int:
    from harness.compose.command_line import compose_trial, hydra_asked, show_hydra

    adapter, rest = _adapter(arguments)
    if hydra_asked(rest):
        show_hydra(rest, USAGE)
        return 0
    plan, tree = compose_trial([*rest, *_named(rest)])

    from harness.config import LauncherConfig, LimitsConfig
    from harness.config.strict import from_mapping
    from harness.data.rows.splits import read_splits
    from harness.launch.local import visible_devices
    from harness.models.load import check_model, pinned_revision, stored_fingerprint
    from harness.records import read_record
    from harness.records.disk_usage import make_writable
    from harness.records.fingerprint import fingerprints
    from harness.trials.by_hand.saved_adapter import read_saved
    from harness.trials.by_hand.show_record import say_without, show
    from harness.trials.job import Job

    saved = None if adapter is None else read_saved(adapter)
    check_model(plan.trial({}).model)
    plan = plan.pinned(pinned_revision(plan.trial({}).model))
    kind = "base" if saved is None else saved.kind
    method = {"name": kind, "adapter": None if saved is None else saved.fingerprint}
    config = replace(plan.trial({}), method=method)
    splits = read_splits(config.data)
    hashes = fingerprints(config, model=stored_fingerprint(config.model), data=splits.fingerprint)
    folder = user_path(tree["runs_dir"]) / tree["name"] / "trials" / kind / hashes.trial
    record = read_record(folder)
    if record is None:
        make_writable("runs_dir", folder)
        say_without(splits, config)
        own = [text for text in plan.overrides if not text.startswith("method=")]
        named = [] if adapter is None else [f"adapter={adapter}"]
        job = Job(
            folder=str(folder),
            cache=str(user_path(tree["runs_dir"]) / ".cache"),
            method=kind,
            config=config,
            limits=from_mapping(LimitsConfig, tree["limits"], "limits"),
            trial=0,
            attempt=1,
            fingerprint=hashes.trial,
            configuration=hashes.configuration,
            overrides=(*named, *own, f"seed={config.seed}", f"stage={config.stage}"),
            searched={},
            asks_pruner=False,
            keep_adapter=True,
        )
        launcher = from_mapping(LauncherConfig, tree["launcher"], "launcher")
        record = _score(job, saved, "cuda:0" if visible_devices() else "cpu", launcher.threads)
    else:
        print(f"{folder}: this is measured already; its record is shown.")
    show(record, folder)
    return 0


def _adapter(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Return the value of ``adapter=`` and the other arguments. Raises InputError.

    Training options have no meaning here and are rejected.
    """
    from harness.compose import override_grammar

    adapter, rest = None, []
    for text in arguments:
        override = None if text.startswith("-") or "=" not in text else override_grammar.parse(text)
        if override is not None and override.key_or_group == "adapter":
            value = override.value()
            adapter = None if value is None else str(value)
            continue
        if override is not None and override.key_or_group.split(".")[0] in IDLE:
            raise InputError(f"{text}: nothing is trained here; leave it out.")
        rest.append(text)
    return adapter, rest


def _named(arguments: Sequence[str]) -> list[str]:
    given = any(argument.split("=")[0] == "name" for argument in arguments)
    return [] if given else ["name=evaluated"]


def _score(job: Any, saved: Any, device: str, threads: int | None) -> Any:
    from harness.launch.libraries import quiet_libraries

    quiet_libraries()
    import torch

    from harness.trials.by_hand.score_adapter import run_score
    from harness.trials.run import Workbench

    if threads is not None:
        torch.set_num_threads(threads)
    scored = run_score(job, Workbench(device, Path(job.cache)), saved)
    for doubt in scored.doubts:
        print(f"Note: {doubt}.", file=sys.stderr)
    return scored.record


if __name__ == "__main__":
    sys.exit(main())
