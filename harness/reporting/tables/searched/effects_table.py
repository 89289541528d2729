"""Table of the settings that matter: how much of the trials' order goes with each."""

from __future__ import annotations

from harness.language import say, say_each
from harness.reporting import formatting as f
from harness.reporting.evidence.folders.run_folder import SweepRecords
from harness.reporting.evidence.searched.settings import INDEPENDENT, searched
from harness.reporting.table import Cell, Table
from harness.statistics.effects import effects

ENOUGH = 12  # trials of a method, before the effects of its settings are looked at


def effects_table(run: SweepRecords) -> Table:
    """A row a searched setting of a method: how much of the trials' order goes with it."""
    headers = say_each(
        "Method", "Setting", "Trials", "Outcome", "Best", "Share", "By chance", "p (all settings)"
    )
    independent = run.sweep.search.get("sampler") in INDEPENDENT
    rows = []
    for method in run.sweep.methods:
        own = searched(run, method)
        trials = len(own.with_outcome)
        if trials < ENOUGH:
            continue
        for objective, direction in run.sweep.objectives[:2]:
            for effect in effects(own.settings, own.outcomes(objective, direction)):
                clear = independent and effect.p_family <= 0.05
                rows.append(
                    (
                        Cell(method, "method"),
                        Cell(effect.key),
                        Cell(str(trials), "number"),
                        Cell(f.title(objective)),
                        Cell(effect.best, "number"),
                        Cell(f"{100 * effect.share:.0f} %", "number strong" if clear else "number"),
                        Cell(f"{100 * effect.by_chance:.0f} %", "number"),
                        Cell(f.p_value(effect.p_family) if independent else f.MISSING, "number"),
                    )
                )
    note = say(
        "Share: of the variance of the trials' ranks, what stands between the values "
        "of a setting (of many values: between their lower, middle and upper third); a "
        "diverged trial ranks last. By chance: what a setting without effect is "
        "expected to have. Best: the values whose trials rank best. "
    )
    note += (
        say(
            "p is a permutation test, adjusted for all settings of the method and outcome; "
            "a share with p below .05 is in bold. The others are not shown to matter, "
            "which does not show that they do not."
        )
        if independent
        else say(
            "Untested: this sampler draws where earlier trials did well, so trials are not "
            "independent. search.sampler=random makes it a test."
        )
    )
    return Table(headers, tuple(rows), note)
