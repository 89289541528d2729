"""From the records of a sweep to a recommendation and a page. Reads files only; no torch."""

from __future__ import annotations

from pathlib import Path

__all__ = ["build_report"]


def build_report(run_folder: Path, reports_dir: Path) -> Path:
    """Write the report of ``runs/NAME`` into ``reports_dir/NAME`` and return that folder.

    Leaves index.html, report.md, leaderboard.csv and report.json. The same records give the same
    bytes. Raises InputError where the folder is not one of a sweep.
    """
    # Late, so that `import harness.reporting` costs nothing: matplotlib alone takes half a second.
    from harness.records import write_json, write_text
    from harness.reporting.evidence.run_folder import load_run
    from harness.reporting.formats import json_and_csv, markdown, page
    from harness.reporting.formats.content import gather

    run_folder = Path(run_folder)
    content = gather(load_run(run_folder))
    folder = Path(reports_dir) / run_folder.resolve().name
    write_json(folder / "report.json", json_and_csv.as_json(content))
    write_text(folder / "leaderboard.csv", json_and_csv.as_csv(content))
    write_text(folder / "report.md", markdown.render(content))
    write_text(folder / "index.html", page.render(content))
    return folder
