"""Progress of a sweep, from its files alone: ``python -m harness.status runs/NAME``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from harness.arguments import command_arguments, is_true, separated
from harness.errors import InputError, refused_paths
from harness.paths import user_path

USAGE = """\
Say how far a sweep is, from its files alone: while it runs, after it was killed, or at its end.

  python -m harness.status runs/NAME
  python -m harness.status runs/NAME json=true      for programs

exit codes: 0 the sweep runs or has ended, 1 it was stopped and can be resumed, 2 wrong input"""
KEYS = ("json",)


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 running or ended, 1 stopped, 2 invalid input."""
    arguments = command_arguments(arguments)
    if {"-h", "--help"} & set(arguments):
        print(USAGE)
        return 0
    try:
        from harness.search.screen.of_folder import read_status

        with refused_paths():
            folder, as_json = _read(arguments)
            status = read_status(folder)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    if as_json:
        import json

        print(json.dumps(status.to_json(), indent=1))
    else:
        status.show()
    return 1 if status.state == "stopped" else 0


def _read(arguments: Sequence[str]) -> tuple[Path, bool]:
    """Return the folder and whether JSON is asked for. Raises InputError."""
    places, values = separated(arguments, KEYS)
    if len(places) != 1:
        raise InputError("Name the folder of one sweep: python -m harness.status runs/NAME")
    return user_path(places[0]), is_true(values, "json")


if __name__ == "__main__":
    sys.exit(main())
