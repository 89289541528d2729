"""Comparison of every two finalists, and of their order on the validation and the test split."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from harness.language import say, say_each
from harness.reporting import formatting as f
from harness.reporting.evidence.candidates import Candidate, CandidateSet
from harness.reporting.evidence.estimates import estimate, shared_items, with_intervals
from harness.reporting.evidence.folders.run_folder import FinishedTrial, SweepRecords
from harness.reporting.evidence.ranking import ranked
from harness.reporting.table import Cell, Table
from harness.reporting.verdict.contest import compare, contest
from harness.reporting.verdict.rule import DRAWS
from harness.reporting.verdict.wording import as_compared
from harness.statistics.comparing.comparisons import Comparisons
from harness.statistics.comparing.draws import redraw
from harness.statistics.rank_correlation import RankStability, rank_stability

MOST = 8  # most finalists to compare: 28 pairs
LEAST = 3  # a rank correlation of two means nothing


def pairs_table(run: SweepRecords, candidates: CandidateSet) -> Table:
    """Build a row for each pair of finalists: differences in quality and forgetting, with their p.

    They are those of the decision, which compares all that keep the limits.
    """
    every = [c for c in ranked(candidates) if c.quality is not None and c.feasible]
    shown = every[:MOST]
    if len(shown) < 2:
        return Table((), ())
    together = contest(every, candidates)
    moved = [c.forgetting for c in every]
    title = f.title(candidates.quality)
    headers = [
        "",
        say("against"),
        say("{title}, difference", title=title),
        "p",
        say("p (all pairs)"),
    ]
    if candidates.forgetting:
        headers += [say("{forgetting}, difference", forgetting=f.title(candidates.forgetting))]
    rows = []
    for (i, one), (j, other) in combinations(enumerate(shown), 2):
        found = together.difference(i, j)
        difference = f.with_interval(
            as_compared(candidates.quality), found.difference, found.low, found.high, True, True
        )
        cells = [Cell(one.label), Cell(other.label)]
        cells += [Cell(difference, "number strong" if found.different else "number")]
        cells += [Cell(f.p_value(p), "number") for p in (found.p_value, found.p_family)]
        if candidates.forgetting:
            forgetting = compare(one.forgetting, other.forgetting, moved)
            cells.append(Cell(_forgetting(candidates.forgetting, forgetting), "number"))
        rows.append(tuple(cells))
    note = say(
        "The first minus the second, on the same examples. Intervals (95 %) and "
        "two-sided p cover the variation of examples and seeds. p (all pairs) is "
        "Tukey's test over all pairs. A difference with p below .05 is in bold. "
        "Among equal candidates one table in twenty has any in bold."
    )
    if len(shown) < len(every):
        note += say(
            " Shown are the best {n} of {all} finalists, tested among all of them.",
            n=len(shown),
            all=len(every),
        )
    if not together.tested:
        note = say(
            "One seed each: the spread between seeds is unknown, so no difference is tested."
        )
    return Table(tuple(headers), tuple(rows), note)


def _forgetting(name: str, comparison) -> str:
    if comparison is None:
        return f.MISSING
    return f.with_interval(name, comparison.difference, comparison.low, comparison.high, sign=True)


def stability_table(run: SweepRecords, candidates: CandidateSet) -> Table:
    """Build the table of each finalist's scores on validation and test, with their agreement."""
    objective = run.sweep.objectives[0][0] if run.sweep.objectives else candidates.quality
    found = []
    if candidates.confirmed and candidates.quality != objective:
        for candidate in ranked(candidates):
            row = _searched(run, candidate, objective)
            if row is not None and candidate.quality is not None:
                found.append((candidate, row))
    if len(found) < LEAST:
        return Table((), ())
    before = with_intervals([estimate(objective, (row,), shared_items((row,))) for _, row in found])
    order = _stability(candidates, [c for c, _ in found], before)
    headers = (
        "",
        say("Configuration"),
        f.title(objective),
        f.title(candidates.quality),
        *say_each("Rank", "on test"),
    )
    validation = _ranks([e.value for e in before], candidates.maximize)
    test = _ranks([c.quality.value for c, _ in found if c.quality], candidates.maximize)
    rows = []
    for place, (candidate, _) in enumerate(found):
        own, tested = before[place], candidate.quality
        assert tested is not None
        cells = [Cell(candidate.method, "method"), Cell(f.settings(candidate.settings))]
        cells += [
            Cell(f.with_interval(e.name, e.value, e.low, e.high), "number") for e in (own, tested)
        ]
        cells += [Cell(str(validation[place]), "number"), Cell(str(test[place]), "number")]
        rows.append(tuple(cells))
    return Table(headers, tuple(rows), _said(order, found[order.chosen][0], candidates))


def _stability(candidates: CandidateSet, found: Sequence[Candidate], before) -> RankStability:
    after = [c.quality for c in found if c.quality is not None]
    sides = [before, after]
    together = [
        Comparisons([one.replicates for one in side], candidates.maximize) for side in sides
    ]
    redrawn = [None, None]
    if all(one.errors.items_known for one in together):
        rng = np.random.default_rng(candidates.seed)
        redrawn = [redraw(one.errors, one.means, DRAWS, rng) for one in together]
    return rank_stability(
        validation=[one.value for one in before],
        test=[one.value for one in after],
        maximize=candidates.maximize,
        validation_resamples=redrawn[0],
        test_resamples=redrawn[1],
    )


def _searched(run: SweepRecords, candidate: Candidate, objective: str) -> FinishedTrial | None:
    """Return the search trial whose configuration became this finalist."""
    for row in run.rows:
        record = row.record
        same = (record.method, record.configuration) == (candidate.method, candidate.configuration)
        if same and record.stage != "confirm" and record.value(objective) is not None:
            return row
    return None


def _ranks(values: Sequence[float], maximize: bool) -> list[int]:
    return [1 + sum(v > own if maximize else v < own for v in values) for own in values]


def _said(order: RankStability, chosen: Candidate, candidates: CandidateSet) -> str:
    text = say(
        "Of {n} finalists, {label} was best on the validation split", n=order.n, label=chosen.label
    )
    text += say(" and is number {rank} on the test split", rank=order.test_rank)
    if order.regret > 0:
        regret = f.score(candidates.quality, order.regret)
        text += say(
            ", {regret} {quality} behind the best",
            regret=regret,
            quality=f.title(candidates.quality),
        )
    text += say(". ")
    if order.kendall is not None:
        text += say(
            "Rank correlation of the two orders: Kendall's τ {kendall:.2f}", kendall=order.kendall
        )
        if order.kendall_interval is not None:
            low, high = order.kendall_interval
            text += f" [{low:.2f}, {high:.2f}]"
        if order.spearman is not None:
            text += say(", Spearman's ρ {spearman:.2f}", spearman=order.spearman)
        text += say(". ")
    if order.stays_best is not None:
        text += say(
            "When examples and seeds are resampled, the same finalist is best on both in "
            "{percent:.0f} % of {draws:,} draws. ",
            percent=100 * order.stays_best,
            draws=DRAWS,
        )
    return text + say(
        "Validation scores come from one seed and selected the finalists: expect lower test scores."
    )
