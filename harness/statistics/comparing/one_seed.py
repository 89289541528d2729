"""Selection of finalists from scores of one seed each: all that may be as good as the best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.statistics.comparing.margins import margin_of
from harness.statistics.comparing.replicates import is_logarithmic, to_scale
from harness.statistics.scores import Array

# Assumed SD of a score over seeds, in standard errors over its items. A single seed cannot estimate
# it. docs/statistics.md gives the measurements behind the value, and the effect of other values.
SEED_SHARE = 1.0
REACH = 1.645  # standard errors of a one-sided test at 5 %


def within_noise(
    name: str,
    values: Sequence[float] | Array,
    errors: Sequence[float | None],
    maximize: bool,
    margin: float | None = None,
) -> np.ndarray:
    """Return (n,) True for scores within noise of the best, from (n,) values and standard errors.

    A score is within noise if it is behind the best by no more than the margin, or by no more than
    two equal configurations would differ in 95 % of cases. That difference has variance from the
    items and the seeds of both; the SD over seeds is taken as ``SEED_SHARE`` standard errors. A
    missing error is replaced by the median of the others. Without any, only the margin counts.
    ``margin`` is the user's; None means the metric's default.
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
