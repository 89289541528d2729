"""Table of the importance of settings, by method and objective; refused where trials are few."""

from __future__ import annotations

from collections.abc import Sequence

from harness.language import say, say_each
from harness.reporting import formatting as f
from harness.reporting.evidence.folders.run_folder import SweepRecords
from harness.reporting.evidence.searched.importance import FEWEST, Importance, Share, importances
from harness.reporting.evidence.searched.settings import INDEPENDENT, Searched, searched
from harness.reporting.table import Cell, Table


def importance_table(run: SweepRecords) -> Table:
    """Build a row a searched setting; without rows, the note says why there are none."""
    headers = (*say_each("Method", "Outcome", "Trials", "Setting"), "fANOVA", "PED-ANOVA")
    rows, few, left_out = [], [], 0
    for method in run.sweep.methods:
        own = searched(run, method)
        trials = len(own.with_outcome)
        if not _varied(own):
            continue
        if trials < FEWEST:
            few.append(f"{method} {trials}")
            continue
        left_out += len(own.rows) - trials
        for objective, direction in run.sweep.objectives[:2]:
            made = importances(own.settings, own.outcomes(objective, direction))
            rows += [
                (
                    Cell(method, "method"),
                    Cell(f.title(objective)),
                    Cell(str(trials), "number"),
                    Cell(one.key),
                    _share(one, [o.variance for o in made if o is not one], one.variance),
                    _share(one, [o.top for o in made if o is not one], one.top),
                )
                for one in made
            ]
    return Table(headers, tuple(rows), _note(run, bool(rows), few, left_out))


def _varied(own: Searched) -> bool:
    """Return True if at least two settings have different values, so that there is a comparison."""
    return sum(len(set(map(str, values))) > 1 for values in own.settings.values()) > 1


def _share(one: Importance, others: Sequence[Share], own: Share) -> Cell:
    """Return a share with its range, in bold if the ranges of all others lie below it."""
    text = f"{100 * own.value:.0f} % [{100 * own.low:.0f}, {100 * own.high:.0f}]"
    apart = all(own.low > other.high for other in others)
    return Cell(text, "number strong" if apart else "number")


def _note(run: SweepRecords, estimated: bool, few: Sequence[str], left_out: int) -> str:
    text = ""
    if estimated:
        text += say(
            "Shares of 1 for each method and outcome, with the range over trials drawn anew; bold: "
            "apart from all others. fANOVA (Hutter et al. 2014): share of the variance of the trials' "
            "ranks. PED-ANOVA (Watanabe et al. 2023): how well a setting tells the best third of the "
            "trials from all. A diverged trial ranks last."
        )
        if left_out:
            text += say(
                " {n} trials were pruned, were infeasible or failed: they have no outcome and are "
                "left out.",
                n=left_out,
            )
        if run.sweep.search.get("sampler") not in INDEPENDENT:
            text += say(
                " This sampler draws where earlier trials did well: the shares are of where it looked."
            )
    if few:
        text += say(" ") if text else ""
        text += say(
            "Importance is not estimated with fewer than {fewest} complete or diverged trials of a "
            "method ({few}): the most important of four settings would come first in fewer than 90 % "
            "of random searches.",
            fewest=FEWEST,
            few=", ".join(few),
        )
    return text
