"""Write the report of a sweep again, from its records alone.

python -m harness.report runs/NAME [--reports-dir reports]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m harness.report",
        description="Write the report of a sweep from its records: page, Markdown, CSV and JSON.",
    )
    parser.add_argument("run", type=Path, metavar="runs/NAME", help="folder of the sweep")
    parser.add_argument(
        "--reports-dir", type=Path, default=Path("reports"), help="where reports go (reports)"
    )
    options = parser.parse_args(arguments)
    from harness.reporting import build_report

    try:
        folder = build_report(options.run, options.reports_dir)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    from rich.console import Console

    from harness.reporting.formats.terminal import announce

    announce(folder, Console(highlight=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
