"""Report of a sweep: recommendation and page, from its records alone and without torch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread

__all__ = ["build_report", "import_ahead"]


def import_ahead() -> None:
    """Import what a report needs, such as matplotlib, in a thread, while this process only waits."""

    def imported() -> None:
        with suppress(Exception):  # the report will raise it again
            from harness.reporting.formats import content, json_and_csv, markdown, page  # noqa: F401

    Thread(target=imported, daemon=True).start()


def build_report(
    run_folders: Path | Sequence[Path],
    reports_dir: Path,
    name: str | None = None,
    paper: bool = False,
    language: str | None = None,
) -> Path:
    """Write the report of one or several sweeps into ``reports_dir/NAME`` and return that folder.

    ``name`` is the folder's own by default, of several their names joined by '+'. Leaves index.html,
    report.md, leaderboard.csv and report.json; with ``paper`` also a folder paper/ with tables and
    figures. ``language`` is one of ``harness.language.LANGUAGES``, by default that of the first sweep.
    The same records give the same bytes. Raises InputError where a folder is not one of a sweep, or
    where sweeps may not be compared.
    """
    from harness.language import in_language
    from harness.reporting.evidence.folders.run_folder import language_of

    folders = [run_folders] if isinstance(run_folders, Path) else list(run_folders)
    with in_language(language or language_of(folders[0])):
        return _written(folders, reports_dir, name, paper)


def _written(folders: Sequence[Path], reports_dir: Path, name: str | None, paper: bool) -> Path:
    # Late, so that `import harness.reporting` costs nothing: matplotlib alone takes half a second.
    from harness.records import write_json, write_text
    from harness.reporting.evidence.folders import read_run
    from harness.reporting.evidence.folders.joined import join
    from harness.reporting.formats import json_and_csv, markdown, page
    from harness.reporting.formats.content import gather

    runs = [read_run(folder) for folder in folders]
    title = name or "+".join(folder.resolve().name for folder in folders)
    run = runs[0] if len(runs) == 1 else join(runs, title)
    if name is not None:
        run = replace(run, sweep=replace(run.sweep, name=name))
    content = gather(run)
    folder = Path(reports_dir) / title
    write_json(folder / "report.json", json_and_csv.as_json(content))
    write_text(folder / "leaderboard.csv", json_and_csv.as_csv(content))
    write_text(folder / "report.md", markdown.render(content))
    write_text(folder / "index.html", page.render(content))
    if paper:
        from harness.reporting.formats.paper import write_paper

        write_paper(content, folder)
    return folder
