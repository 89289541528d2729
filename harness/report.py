"""Write the report of one sweep, or of several as one, from their records."""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.arguments import command_arguments, is_true, separated
from harness.errors import InputError, refused_paths
from harness.terminal.phases import phase

if TYPE_CHECKING:
    from harness.reporting.read import Report

DESCRIPTION = """\
Write the report of a sweep from its records: page, Markdown, CSV and JSON.

  python -m harness.report runs/NAME
  python -m harness.report runs/A runs/B name=both    several sweeps as one, if they compare
  python -m harness.report runs/NAME paper=true         tables in LaTeX, figures as SVG, PDF and PNG
  python -m harness.report runs/NAME language=ja        in Japanese
"""
KEYS = ("name", "reports_dir", "paper", "language")


def read(folder: str | Path) -> Report:
    """Read the report in ``reports/NAME``. Raises InputError if there is none."""
    from harness.reporting.read import read_report

    return read_report(folder)


def write(
    *runs: str | Path,
    name: str | None = None,
    reports_dir: str | Path = "reports",
    paper: bool = False,
    language: str | None = None,
) -> Report:
    """Write the report of one sweep, or of several as one, and return it.

    With ``paper``, its folder paper/ has the tables in LaTeX and the figures as SVG, PDF and PNG.
    ``language`` is 'en' or 'ja', by default the one that the sweep was configured with.
    Raises InputError if a folder has no results, or if the sweeps cannot be compared.
    """
    from harness.reporting import build_report

    places = [Path(run) for run in runs]
    return read(build_report(places, Path(reports_dir), _checked(name), paper, language))


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 done, 2 invalid input."""
    parser = argparse.ArgumentParser(
        prog="python -m harness.report",
        usage="%(prog)s runs/NAME [runs/OTHER ...] [name=NAME] [reports_dir=DIR] [paper=true] "
        "[language=ja]",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "given",
        nargs="+",
        metavar="runs/NAME",
        help="folder of a sweep; name= names the report of several (their names joined by '+'), "
        "reports_dir= is where reports go (reports), language= is en or ja",
    )
    parser.add_argument("--reports-dir", help=argparse.SUPPRESS)  # syntax of earlier versions
    options = parser.parse_args(command_arguments(arguments))
    from harness.paths import user_path
    from harness.reporting import build_report

    try:
        places, settings = separated(options.given, KEYS)
        if not places:
            raise InputError("Name the folder of a sweep, such as runs/NAME.")
        for key, what in (("reports_dir", "the path of a folder"), ("language", "en or ja")):
            if settings.get(key) == "":
                raise InputError(f"{key}='' cannot be used: it must be {what}.")
        reports = user_path(settings.get("reports_dir", options.reports_dir or "reports"))
        paper, runs = is_true(settings, "paper"), [user_path(place) for place in places]
        if len({run.resolve() for run in runs}) < len(runs):
            raise InputError(f"{' '.join(places)}: each folder is named once.")
        name, spoken = _checked(settings.get("name")), settings.get("language")
        with phase("reading the records and writing the report"), refused_paths(errno.ENOENT):
            folder = build_report(runs, reports, name, paper, spoken)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    from rich.console import Console

    from harness.reporting.formats.terminal_board import announce

    announce(folder, Console(highlight=False))
    return 0


def _checked(name: str | None) -> str | None:
    """Return ``name`` if it is a valid folder name. Raises InputError otherwise."""
    if name is None:
        return None
    from harness.compose.keys import checked_name  # brings Hydra with it

    return checked_name(name)


if __name__ == "__main__":
    sys.exit(main())
