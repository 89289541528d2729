"""Run one trial by hand, in this process: ``python -m harness.trial method=lora method.r=8``.

The report prints such a command for every row. It writes the same files as a trial of a sweep,
under ``runs/NAME`` (by-hand without name=), and resumes from its checkpoint if it was stopped.
``'sequence=[builtin,builtin_domain]'`` tunes on several data sets one after another.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from harness.arguments import command_arguments
from harness.errors import InputError, Stopped, refused_paths
from harness.terminal.phases import phase

USAGE = """\
Run one trial by hand, in this process. Every row of a report prints such a command.

  python -m harness.trial method=lora method.r=8 training.learning_rate=1e-3
  python -m harness.trial method=full seed=3 stage=confirm        with the test split
  python -m harness.trial method=lora 'sequence=[builtin,builtin_domain]' measure=bleu

Every key takes one value; ranges belong to a sweep. Where nothing sets training.learning_rate, it is
the one that a sweep begins with. name= is the folder under runs_dir (by-hand).
sequence= tunes on one data set after another and scores all of them after each; measure= names the
score. The same command resumes a stopped trial, and shows the record of a trial that is done.

exit codes: 0 done, 1 not complete, 2 wrong input, 75 preempted or the disk is full, 130 stopped"""

OF_SWEEPS = ("plan", "budget", "search", "confirm", "methods", "variants", "per_method")


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 done, 1 not complete, 2 invalid input, 75 interrupted, 130 stopped.

    75 means preempted or a full disk. After 75 and 130 the same command resumes the trial."""
    try:
        with refused_paths():
            return run(command_arguments(arguments))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except Stopped as stop:
        print(stop)
        return stop.exit_code
    except KeyboardInterrupt:  # before anything ran
        return 130
    except Exception as error:
        from harness.records.disk_full import disk_full_message

        explanation = disk_full_message(error)
        if explanation is None:
            raise
        print(explanation, file=sys.stderr)
        return 75


def run(arguments: Sequence[str]) -> int:
    from harness import sequence

    if sequence.is_sequence(arguments):
        return sequence.run(arguments, USAGE)
    with phase("reading the configuration"):
        from harness.compose.command_line import compose_trial, hydra_asked, show_hydra

        if hydra_asked(arguments):
            show_hydra(arguments, USAGE)
            return 0
        _check_own(arguments)
        plan, tree = compose_trial(arguments)

    from harness.launch.one_device import device_of_this_process
    from harness.search.planning.first_rates import of_one_trial
    from harness.trials.by_hand.command import pinned, tune
    from harness.trials.by_hand.show_record import show

    plan, rate = of_one_trial(pinned(plan))
    print(rate, flush=True)
    record, folder = tune(plan, tree, device_of_this_process(tree))
    show(record, folder)
    return 0 if record.status == "complete" else 1


def _check_own(arguments: Sequence[str]) -> None:
    """Raise InputError for a key that only a sweep reads: with plan=true nothing would be spared."""
    for text in arguments:
        key = text.lstrip("+").split("=")[0]
        if key.split(".")[0] in OF_SWEEPS and not key.startswith("search.rate"):
            raise InputError(
                f"{text}: a trial is one run, so it has no meaning here; leave it out, or use "
                "`python -m harness.sweep`."
            )


if __name__ == "__main__":
    sys.exit(main())
