"""Order of configurations for a second look: the best, then what may be as good and forgets less."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.search.pruning.pareto_fronts import dominated_by


def near_best_first(losses: NDArray[np.float64], near: NDArray[np.bool_]) -> list[int]:
    """Order (n, m) losses, of which (n,) ``near`` are within noise of the best by the first.

    The best by the first loss; of those within noise of it the least in each other loss; then the
    others of their front, the one farthest from those taken first, so that they spread over what the
    first loss does not tell apart; then all that is left, by its first loss. What lies behind by more
    than noise is never preferred for its other losses: whatever they are, it would not be chosen.
    """
    everything = [int(i) for i in np.lexsort(losses.T[::-1])]  # by the first loss, then the others
    open_ = [i for i in everything if near[i] and not dominated_by(losses[near], losses[i]).any()]
    order = everything[:1]
    for other in losses.T[1:]:
        if left := [i for i in open_ if i not in order]:
            least = min([*left, *order], key=lambda i: other[i])
            order += [least] if least not in order else []
    others = losses[:, 1:]
    spread = np.ptp(others[open_], axis=0)
    scaled = others / np.where(spread > 0, spread, 1.0)
    while left := [i for i in open_ if i not in order]:
        room = [np.square(scaled[order] - scaled[i]).sum(axis=1).min() for i in left]
        order.append(left[int(np.argmax(room))])
    return order + [i for i in everything if i not in order]
