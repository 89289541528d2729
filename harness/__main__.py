"""The console command ``harness``, also ``python -m harness``: one subcommand per entry point."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from harness import __version__
from harness.arguments import command_arguments

COMMANDS = {
    "init": "write a sweep of your own as a commented YAML, from a data file",
    "sweep": "tune methods with an equal budget each, compare them, and write a report",
    "trial": "run one trial by hand, or a sequence of tasks",
    "evaluate": "score a saved adapter or model, or the untouched base",
    "status": "say how far a sweep is, while it runs or after it was stopped",
    "report": "write the report of a sweep from its records",
    "export": "write the recommended model into a folder, ready to use, with a model card",
    "doctor": "check what this machine can run",
    "verify": "repeat the first steps of a trial and compare",
    "completion": "print a script for completion in bash, zsh or fish",
    "clean": "free disk space that finished trials no longer need",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the subcommand that ``arguments`` name and return its exit code; 2 if it is unknown."""
    arguments = command_arguments(arguments)
    name, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if name in ("-h", "--help"):
        print(_usage())
        return 0
    if name == "--version":
        print(f"harness {__version__}")
        return 0
    if name not in COMMANDS:
        from harness.errors import unknown

        print(unknown("command", name, COMMANDS), file=sys.stderr)
        return 2
    sys.argv = [f"harness {name}", *rest]
    return importlib.import_module(f"harness.{name}").main(rest)


def _usage() -> str:
    lines = [f"  {name:<12}{what}" for name, what in COMMANDS.items()]
    return "\n".join(
        ["usage: harness COMMAND [ARGUMENTS]", "", *lines, "", "harness COMMAND --help says more."]
    )


if __name__ == "__main__":
    sys.exit(main())
