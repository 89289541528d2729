"""Selection of a method's finalists: the best, and those about as good that forget less."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.config import SweepConfig
from harness.records import Record
from harness.search.limits import excesses
from harness.search.near_best import near_best_first
from harness.statistics.comparing.margins import INSTEAD_OF_BLIND, is_blind
from harness.statistics.comparing.one_seed import within_noise
from harness.statistics.pareto import MAXIMIZE, MINIMIZE, as_losses


def finalists(records: Sequence[Record], sweep: SweepConfig) -> list[Record]:
    """Return the configurations of one method to confirm, chosen by validation measurements alone.

    Only complete trials that keep all limits count. The first is the best in quality. Then come
    those within noise of it, over items and seeds: first the one with the least forgetting, then
    those between the two. The next best by quality follow. A score that is equal for all, or near
    0, is replaced as in the report.
    """
    usable = [
        record
        for record in sorted(records, key=lambda record: (record.trial, record.fingerprint))
        if record.status == "complete"
        and all(record.value(name) is not None for name in sweep.objectives)
        and all(excess <= 0 for excess in excesses(record, sweep).values())
    ]
    if not usable:
        return []
    (quality, way), *others = sweep.objectives.items()
    margin = sweep.confirm.margin
    if (seeing := _instead_of_blind(usable, quality)) is not None:
        quality, way, margin = seeing, MINIMIZE, None
    names, ways = [quality, *dict(others)], [way, *dict(others).values()]
    points = np.array([[record.measurements[name].value for name in names] for record in usable])
    errors = [record.measurements[quality].error for record in usable]
    near = within_noise(quality, points[:, 0], errors, way == MAXIMIZE, margin)
    order = near_best_first(as_losses(points, ways), near)
    return [usable[i] for i in order[: sweep.confirm.finalists]]


def _instead_of_blind(usable: Sequence[Record], quality: str) -> str | None:
    """Return the likelihood on the same texts, if ``quality`` cannot distinguish the trials."""
    measured = [r.measurements[quality].value for r in usable]
    measured += [r.base[quality].value for r in usable if quality in r.base]
    if not is_blind(quality, measured):
        return None
    split = quality.split(".")[0]
    names = [f"{split}.{kind}" for kind in INSTEAD_OF_BLIND]
    return next(
        (n for n in names if n != quality and all(n in r.measurements for r in usable)), None
    )
