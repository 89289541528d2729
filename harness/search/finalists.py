"""Selection of the finalists of a method by non-dominated sorting."""

from __future__ import annotations

from collections.abc import Sequence

from harness.config import SweepConfig
from harness.records import Record
from harness.search.limits import excesses
from harness.search.pruning.pareto_fronts import best_first


def finalists(records: Sequence[Record], sweep: SweepConfig) -> list[Record]:
    """The configurations of one method to confirm, from its validation measurements alone.

    Of the complete trials that keep all limits: the best by quality, then others of the front, the
    least crowded first.
    """
    names = list(sweep.objectives)
    usable = [
        record
        for record in sorted(records, key=lambda record: (record.trial, record.fingerprint))
        if record.status == "complete"
        and all(record.value(name) is not None for name in names)
        and all(excess <= 0 for excess in excesses(record, sweep).values())
    ]
    if not usable:
        return []
    points = [[record.value(name) or 0.0 for name in names] for record in usable]
    ranked = best_first(points, list(sweep.objectives.values()))
    return [usable[i] for i in ranked[: sweep.confirm.finalists]]
