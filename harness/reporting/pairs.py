"""Every two finalists against each other, and whether validation's order held on the test split."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from harness.reporting import formatting as f
from harness.reporting.candidates import Candidate, Field
from harness.reporting.decision import compare
from harness.reporting.estimates import estimate, shared_items
from harness.reporting.load import Row, Run
from harness.reporting.tables import Cell, Table, ranked
from harness.statistics.ranks import RankStability, rank_stability
from harness.statistics.resampling import RESAMPLES, benjamini_hochberg, paired_randomization

MOST = 8  # finalists that are set against each other: 28 pairs
LEAST = 3  # of two there is no order to speak of


def pairs_table(run: Run, field: Field) -> Table:
    """A row a pair of finalists: difference in quality and forgetting, and how sure it is."""
    shown = [c for c in ranked(field) if c.quality is not None][:MOST]
    tested = []
    for one, other in combinations(shown, 2):
        quality = compare(one.quality, other.quality)
        if quality is not None:
            tested.append((one, other, quality, compare(one.forgetting, other.forgetting)))
    adjusted = benjamini_hochberg([quality.p_value for _, _, quality, _ in tested])
    title = f.title(field.quality)
    headers = ["", "against", f"{title}, difference", "p (bootstrap)", "p (randomization)"]
    headers += ["q (all pairs)"]
    if field.forgetting:
        headers += [f"{f.title(field.forgetting)}, difference"]
    rows = []
    for (one, other, quality, forgetting), q in zip(tested, adjusted, strict=True):
        difference = f.with_interval(
            field.quality, quality.difference, quality.low, quality.high, sign=True
        )
        cells = [Cell(one.label), Cell(other.label)]
        cells += [Cell(difference, "number strong" if q < 0.05 else "number")]
        cells += [
            Cell(f.p_value(p), "number")
            for p in (quality.p_value, _swapped(run, field, one, other), q)
        ]
        if field.forgetting:
            cells.append(Cell(_forgetting(field.forgetting, forgetting), "number"))
        rows.append(tuple(cells))
    note = (
        "The first less the second, on the same examples. Bootstrap: examples and seeds are drawn "
        "anew, so it asks whether the difference would hold with other ones. Randomization (Riezler & "
        "Maxwell 2005): results change places example by example, the seeds as they are. q: the "
        "bootstrap's p after Benjamini & Hochberg 1995 over all pairs shown; below .05 the difference "
        "is set in bold, and of those one in twenty is expected to be false."
    )
    return Table(tuple(headers), tuple(rows), note)


def _swapped(run: Run, field: Field, one: Candidate, other: Candidate) -> float | None:
    a, b = one.items.get(field.quality), other.items.get(field.quality)
    if a is None or b is None or a.shape != b.shape:
        return None
    return paired_randomization(field.quality, a, b, np.random.default_rng(run.sweep.seed), 2000)


def _forgetting(name: str, comparison) -> str:
    if comparison is None:
        return f.MISSING
    return f.with_interval(name, comparison.difference, comparison.low, comparison.high, sign=True)


def stability_table(run: Run, field: Field) -> Table:
    """Each finalist's score where it was chosen and where it was tested, and what that says."""
    objective = run.sweep.objectives[0][0] if run.sweep.objectives else field.quality
    found = []
    if field.confirmed and field.quality != objective:
        for candidate in ranked(field):
            row = _searched(run, candidate, objective)
            if row is not None and candidate.quality is not None:
                found.append((candidate, row))
    if len(found) < LEAST:
        return Table((), ())
    shared: dict[int, np.ndarray] = {}
    before = [
        estimate(run.sweep.seed, c.configuration, objective, (row,), shared_items((row,)), shared)
        for c, row in found
    ]
    order = _stability(field, [c for c, _ in found], before)
    headers = ("", "Configuration", f.title(objective), f.title(field.quality), "Rank", "on test")
    validation = _ranks([e.value for e in before], field.maximize)
    test = _ranks([c.quality.value for c, _ in found if c.quality], field.maximize)
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
    return Table(headers, tuple(rows), _said(order, found[order.chosen][0], field))


def _stability(field: Field, found: Sequence[Candidate], before) -> RankStability:
    estimates = [c.quality for c in found if c.quality is not None]
    resampled = [[e.resamples for e in side] for side in (before, estimates)]
    both = all(one is not None for side in resampled for one in side)
    return rank_stability(
        [e.value for e in before],
        [e.value for e in estimates],
        field.maximize,
        *((np.stack(side, axis=1) for side in resampled) if both else ()),
    )


def _searched(run: Run, candidate: Candidate, objective: str) -> Row | None:
    """The search trial that this finalist was chosen for."""
    for row in run.rows:
        record = row.record
        same = (record.method, record.configuration) == (candidate.method, candidate.configuration)
        if same and record.stage != "confirm" and record.value(objective) is not None:
            return row
    return None


def _ranks(values: Sequence[float], maximize: bool) -> list[int]:
    return [1 + sum(v > own if maximize else v < own for v in values) for own in values]


def _said(order: RankStability, chosen: Candidate, field: Field) -> str:
    text = f"Of {order.n} finalists, {chosen.label} was best on the validation split"
    text += f" and is number {order.test_rank} on the test split"
    if order.regret > 0:
        regret = f.score(field.quality, order.regret)
        text += f", {regret} {f.title(field.quality)} behind the best"
    text += ". "
    if order.kendall is not None:
        text += f"Rank correlation of the two orders: Kendall's τ {order.kendall:.2f}"
        if order.kendall_interval is not None:
            low, high = order.kendall_interval
            text += f" [{low:.2f}, {high:.2f}]"
        if order.spearman is not None:
            text += f", Spearman's ρ {order.spearman:.2f}"
        text += ". "
    if order.stays_best is not None:
        text += (
            "With the examples of both splits drawn anew, the same finalist was best on both in "
            f"{100 * order.stays_best:.0f} % of {RESAMPLES:,} resamples. "
        )
    return (
        text
        + "Validation scores are of one seed, and the finalists were chosen by them: expect some fall."
    )
