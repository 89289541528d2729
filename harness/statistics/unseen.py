"""Errors of shares of yes/no results, where the results seen may all agree.

If all of n answers are right, the spread of the items is 0, although up to 3/n of other answers may
be wrong (rule of three, Hanley & Lippman-Hand 1983, JAMA 249:1743). Agresti & Coull (1998, Am. Stat.
52:119) add a few results of either kind that were not seen. So does this module, by their variance.
"""

from __future__ import annotations

import math

import numpy as np

from harness.statistics.measurements.definitions import METRIC_DEFINITIONS, kind_of
from harness.statistics.scores import Array, aggregate

# Unlike results assumed beside those seen. With 1.5, two candidates that are right on all of n items
# are shown to be within 3/n of each other, which is the rule of three.
UNSEEN = 1.5


def agreed_error(values: Array, groups: int) -> float:
    """Return the standard error of the mean of (n,) equal yes/no results or equal changes of them.

    ``groups`` is the number of independent items or clusters. Returns 0 for other equal values.
    """
    return math.sqrt(UNSEEN) / groups if np.isin(values, (-1, 0, 1)).all() else 0.0


def unseen_variance(name: str, statistics: Array) -> float:
    """Return the variance of a score over items that results not seen add to that of those seen.

    ``UNSEEN``·(range of the score)²/n² for (..., n, k) statistics that are all 0 or 1, and where every
    score is the lowest or highest possible, as of perfect answers. Else 0.
    """
    kind = METRIC_DEFINITIONS.get(kind_of(name))
    least, most = (-math.inf, math.inf) if kind is None else kind.span
    found = np.asarray(statistics)
    if not ((found == 0) | (found == 1)).all():
        scores = aggregate(name, found)
        if (
            not math.isfinite(most)
            or not np.isclose(scores[..., None], (least, most)).any(-1).all()
        ):
            return 0.0
    width = most - max(least, 0.0)
    return UNSEEN * ((width if math.isfinite(width) else 1.0) / found.shape[-2]) ** 2
