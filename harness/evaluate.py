"""Score a saved adapter or model: ``python -m harness.evaluate model=... adapter=FOLDER data=...``.

``adapter`` is a folder with an adapter saved by peft or this package, or with the weights of a
whole model. Without it, the untouched base is scored. Code, record and keys are those of a trial
(``data``, ``evaluation``, ``stage``; stage=confirm uses the test split). Forgetting is measured
against the untouched base. The record is written under ``runs/evaluated``, and the same command
shows it again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from harness.arguments import command_arguments
from harness.errors import InputError, refused_paths
from harness.terminal.phases import phase

USAGE = """\
Score a model that somebody tuned, or the untouched base, with the code and record of a trial.

  python -m harness.evaluate adapter=FOLDER model=hub model.name=Qwen/Qwen3-0.6B data=jsonl \\
      data.train=train.jsonl data.general=wiki.txt
  python -m harness.evaluate model=builtin evaluation.tasks=[arc_easy] stage=confirm

adapter= is a folder: an adapter saved by peft, or the weights of a whole model. Without it the base
is scored. stage=confirm opens the test split. Keys of method, training and search have no meaning
here. The record lies under runs/evaluated, and the same command shows it again.

exit codes: 0 done, 2 wrong input, 130 stopped"""

IDLE = ("method", "training", "retention", "search", "confirm", "limits", "tuned", "plan", "budget")


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 done, 2 invalid input, 130 stopped."""
    try:
        with refused_paths():
            return run(command_arguments(arguments))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def run(arguments: Sequence[str]) -> int:
    with phase("reading the configuration"):
        from harness.compose.command_line import compose_trial, hydra_asked, show_hydra

        adapter, rest = _adapter(arguments)
        if hydra_asked(rest):
            show_hydra(rest, USAGE)
            return 0
        plan, tree = compose_trial([*rest, *_named(rest)])

    from harness.launch.one_device import device_of_this_process
    from harness.trials.by_hand.command import score
    from harness.trials.by_hand.show_record import show

    show(*score(plan, tree, adapter, device_of_this_process(tree)))
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


if __name__ == "__main__":
    sys.exit(main())
