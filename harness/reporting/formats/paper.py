"""Tables and figures of a report for a paper: LaTeX (booktabs), SVG, PDF, PNG, and Parquet."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from harness.language import in_language, language, say
from harness.records import write_text
from harness.reporting.figures.front_and_rank import all_figures
from harness.reporting.formats.content import Content
from harness.reporting.read import read_report
from harness.reporting.table import Table

__all__ = ["latex", "write_paper"]

PIXELS = 2.0  # of a PNG, for one of the SVG: sharp on any screen

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "−": "$-$", "±": r"$\pm$", "×": r"$\times$", "–": "--", "≥": r"$\geq$", "≤": r"$\leq$",
    "Δ": r"$\Delta$", "‖": r"$\|$", "…": r"\dots{}", "<": r"$<$", ">": r"$>$", "|": r"$|$",
}  # fmt: skip


def write_paper(content: Content, report: Path) -> Path:
    """Write tables and figures into ``report/paper`` and return that folder.

    ``report`` holds the report already, from whose numbers leaderboard.parquet is made.
    """
    folder = report / "paper"
    for name, table in _tables(content).items():
        write_text(folder / f"{name}.tex", latex(table, name, content.run.sweep.name))
    _write_figures(content, folder)
    read_report(report).leaderboard().to_parquet(folder / "leaderboard.parquet", index=False)
    return folder


def latex(table: Table, label: str, title: str) -> str:
    """Return a table as LaTeX that needs the package booktabs. What it holds is escaped."""
    columns = "".join("r" if _is_number(table, i) else "l" for i in range(len(table.headers)))
    rows = [
        " & ".join(_bold(escaped(cell.text), i == table.marked) for cell in row) + r" \\"
        for i, row in enumerate(table.rows)
    ]
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{escaped(f'{title}: {table.note}' if table.note else title)}}}",
            rf"  \label{{tab:{re.sub('[^a-z0-9-]', '-', label.lower())}}}",
            rf"  \begin{{tabular}}{{{columns}}}",
            r"    \toprule",
            "    " + " & ".join(map(escaped, table.headers)) + r" \\",
            r"    \midrule",
            *(f"    {row}" for row in rows),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def escaped(text: str) -> str:
    """Return ``text`` as LaTeX prints it, on one line."""
    return "".join(_LATEX.get(letter, letter) for letter in " ".join(text.split()))


def _bold(text: str, marked: bool) -> str:
    return rf"\textbf{{{text}}}" if marked and text else text


def _is_number(table: Table, column: int) -> bool:
    return any(row[column].role.startswith("number") for row in table.rows)


def _tables(content: Content) -> Mapping[str, Table]:
    """Return the tables of a paper, without those that have no rows."""
    tables = {
        "leaderboard": content.leaderboard,
        "scores": content.split_scores,
        "comparisons": content.pairs,
        "cost": content.cost,
        "budget": content.budget,
        "tasks": content.tasks,
        **{f"forgetting-{i}": table for i, (_, table) in enumerate(content.lost, 1)},
        **{f"variants-{i}": table for i, (_, table) in enumerate(content.variants, 1)},
    }
    return {name: table for name, table in tables.items() if table.rows}


def _write_figures(content: Content, folder: Path) -> None:
    import vl_convert

    pictures = content.pictures
    if language() == "ja" and not has_japanese_font():
        print(
            say("No Japanese font on this machine: figures have English labels."), file=sys.stderr
        )
        with in_language("en"):
            chosen = content.recommendation.chosen
            pictures = all_figures(content.run, content.candidates, chosen)
    for name, picture in pictures.items():
        svg = _alone(picture.svg)
        write_text(folder / f"{name}.svg", svg)
        (folder / f"{name}.pdf").write_bytes(vl_convert.svg_to_pdf(svg))
        (folder / f"{name}.png").write_bytes(vl_convert.svg_to_png(svg, scale=PIXELS))


def has_japanese_font() -> bool:
    """Return True if a font of this machine has Japanese characters."""
    from matplotlib.font_manager import findSystemFonts, get_font

    for path in findSystemFonts():
        with suppress(OSError, RuntimeError):  # a damaged font
            if ord("学") in get_font(path).get_charmap():
                return True
    return False


def _alone(svg: str) -> str:
    """Return a figure as it is outside of the page, whose style sheet names its colours."""
    return re.sub(r"var\(--[\w-]+, (#[0-9a-f]{6})\)", r"\1", svg)
