"""Scores that were measured with one seed each: the ones that cannot be told from the best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.statistics.comparing.margins import margin_of
from harness.statistics.comparing.replicates import is_logarithmic, to_scale
from harness.statistics.scores import Array

# SD of a score over seeds, in standard errors over its items. One seed tells nothing of the others, so
# this is stated beforehand; docs/statistics.md says what was measured and what other values would do.
SEED_SHARE = 1.0
REACH = 1.645  # standard errors: one-sided, at 5 %


def within_noise(
    name: str,
    values: Sequence[float] | Array,
    errors: Sequence[float | None],
    maximize: bool,
    margin: float | None = None,
) -> np.ndarray:
    """(n,) values and standard errors over items -> (n,) true where the best is not told from it.

    Within noise lies what is behind the best by no more than the margin, or by no more than chance
    makes of equals in 95 % of cases: items of both, and seeds of both with an SD of ``SEED_SHARE``
    standard errors. Where an error is missing, the median of the others stands for it; without any
    the margin alone counts. ``margin``: the user's; None: that of the metric.
    """
    scores = to_scale(name, np.asarray(values, dtype=float))
    known = [error for error in errors if error is not None]
    typical = float(np.median(known)) if known else 0.0
    of_items = np.array([typical if error is None else error for error in errors])
    if is_logarithmic(name):
        of_items = of_items / np.asarray(values, dtype=float)
    losses = -scores if maximize else scores
    best = int(losses.argmin())
    chance = REACH * np.sqrt((of_items**2 + of_items[best] ** 2) * (1 + SEED_SHARE**2))
    allowed = np.maximum(margin_of(name, float(scores[best]), margin), chance)
    return losses <= losses[best] + allowed
