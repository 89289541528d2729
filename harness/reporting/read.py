"""A written report as an object for notebooks and programs: its decision, and its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import InputError
from harness.language import in_language, say
from harness.records import read_json

if TYPE_CHECKING:
    import pandas

__all__ = ["Report", "read_report"]


@dataclass(frozen=True)
class Report:
    """One report. ``content`` is report.json whole; the tables are made from it."""

    folder: Path
    content: Mapping[str, Any]

    @property
    def headline(self) -> str:
        """The decision in one sentence, which may be that there is none."""
        return self.content["recommendation"]["headline"]

    @property
    def chosen(self) -> str | None:
        """The label of the recommended candidate; None without a recommendation."""
        return self.content["recommendation"]["chosen"]

    @property
    def judged(self) -> bool:
        """True if the rule had a candidate to judge: one that completed and keeps the limits."""
        return self.content["recommendation"]["decided_by"] is not None

    @property
    def command(self) -> str | None:
        """The command line that trains the recommended candidate again."""
        return self.content["recommendation"]["command"]

    @property
    def cautions(self) -> Sequence[str]:
        """Reasons for doubt, to be read before acting on the decision."""
        return self.content["recommendation"]["cautions"]

    @property
    def page(self) -> Path:
        """The page to open in a browser."""
        return self.folder / "index.html"

    def leaderboard(self) -> pandas.DataFrame:
        """Return a row a candidate, best first: settings, seeds, and each score with its interval.

        The columns of a measurement are its name, ``NAME.low`` and ``NAME.high`` (95 %). What was not
        measured is missing.
        """
        rows = []
        for candidate in self.content["leaderboard"]:
            row = {key: candidate[key] for key in ("label", "method", "tied", "eligible")}
            row |= {"seeds": len(candidate["seeds"]), **candidate["settings"]}
            for name, measured in candidate["measurements"].items():
                row |= {name: measured["value"]}
                row |= {f"{name}.{end}": measured[end] for end in ("low", "high")}
            rows.append(row | candidate["cost"])
        return _frame(rows)

    def trials(self) -> pandas.DataFrame:
        """Return a row a trial, those that failed included: stage, seed, status and scores."""
        rows = []
        for trial in self.content["trials"]:
            nested = ("measurements", "missing")
            row = {key: value for key, value in trial.items() if key not in nested}
            rows.append(row | trial["measurements"])
        return _frame(rows)

    def comparisons(self) -> pandas.DataFrame:
        """Return a row a pair of candidate and best: difference, 95 % interval, p among all pairs."""
        rows = [
            {k: v for k, v in each.items() if not isinstance(v, dict)}
            for each in self.content["comparisons"]
        ]
        return _frame(rows)

    def _repr_markdown_(self) -> str:
        """Return what a notebook shows: the decision and what to know before acting on it."""
        text = (self.folder / "report.md").read_text(encoding="utf-8")
        with in_language(self.content.get("language", "en")):
            next_part = f"## {say('Why')}\n"
        return text.partition(next_part)[0].rstrip() + "\n"


def read_report(folder: str | Path) -> Report:
    """Read ``reports/NAME``. Raises InputError if there is no report."""
    path = Path(folder)
    content = read_json(path / "report.json")
    if not isinstance(content, dict):
        raise InputError(
            f"{path} has no report.json. Write it with: python -m harness.report runs/NAME"
        )
    return Report(path, content)


def _frame(rows: Sequence[Mapping[str, Any]]) -> pandas.DataFrame:
    from pandas import DataFrame  # takes half a second to import

    return DataFrame(list(rows))
