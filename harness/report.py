"""Write the report of one sweep, or of several as one, from their records."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import InputError, unknown

if TYPE_CHECKING:
    from harness.reporting.read import Report

DESCRIPTION = """\
Write the report of a sweep from its records: page, Markdown, CSV and JSON.

  python -m harness.report runs/NAME
  python -m harness.report runs/A runs/B name=both    several sweeps as one, if they compare
  python -m harness.report runs/NAME paper=true         tables in LaTeX, figures as SVG, PDF and PNG
"""
KEYS = ("name", "reports_dir", "paper")


def read(folder: str | Path) -> Report:
    """Read the report in ``reports/NAME``. Raises InputError if there is none."""
    from harness.reporting.read import read_report

    return read_report(folder)


def write(
    *runs: str | Path,
    name: str | None = None,
    reports_dir: str | Path = "reports",
    paper: bool = False,
) -> Report:
    """Write the report of one sweep, or of several as one, and return it.

    With ``paper``, its folder paper/ has the tables in LaTeX and the figures as SVG, PDF and PNG.
    Raises InputError if a folder has no results, or if the sweeps cannot be compared.
    """
    from harness.reporting import build_report

    return read(build_report([Path(run) for run in runs], Path(reports_dir), _checked(name), paper))


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 done, 2 invalid input."""
    parser = argparse.ArgumentParser(
        prog="python -m harness.report",
        usage="%(prog)s runs/NAME [runs/OTHER ...] [name=NAME] [reports_dir=DIR] [paper=true]",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "given",
        nargs="+",
        metavar="runs/NAME",
        help="folder of a sweep; name= names the report of several (their names joined by '+'), "
        "reports_dir= is where reports go (reports)",
    )
    parser.add_argument("--reports-dir", help=argparse.SUPPRESS)  # syntax of earlier versions
    options = parser.parse_args(arguments)
    from harness.paths import user_path
    from harness.reporting import build_report

    try:
        runs, settings = _sorted(options.given)
        reports = user_path(settings.get("reports_dir", options.reports_dir or "reports"))
        paper = _is_true("paper", settings.get("paper", "false"))
        folder = build_report(runs, reports, _checked(settings.get("name")), paper)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    from rich.console import Console

    from harness.reporting.formats.terminal_board import announce

    announce(folder, Console(highlight=False))
    return 0


def _sorted(given: Sequence[str]) -> tuple[list[Path], dict[str, str]]:
    """Separate folders from key=value arguments. Raises InputError for an unknown key."""
    runs, settings = [], {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or Path(text).exists():
            runs.append(Path(text))
        elif key in KEYS:
            settings[key] = value
        else:
            raise unknown("key", key, KEYS)
    if not runs:
        raise InputError("Name the folder of a sweep, such as runs/NAME.")
    return runs, settings


def _is_true(key: str, value: str) -> bool:
    if value not in ("true", "false"):
        raise InputError(f"{key}={value}: {key} must be true or false.")
    return value == "true"


def _checked(name: str | None) -> str | None:
    """Return ``name`` if it is a valid folder name. Raises InputError otherwise."""
    if name is None:
        return None
    from harness.compose.keys import checked_name  # brings Hydra with it

    return checked_name(name)


if __name__ == "__main__":
    sys.exit(main())
