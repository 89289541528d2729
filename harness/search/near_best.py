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
    front = losses[open_]
    ends = list(dict.fromkeys([0, *(int(column.argmin()) for column in front.T[1:])]))
    spread = np.ptp(front[:, 1:], axis=0)
    scaled = front[:, 1:] / np.where(spread > 0, spread, 1.0)
    room = np.full(len(open_), np.inf)  # squared distance to the nearest that is taken
    order = []
    for _ in open_:
        place = ends.pop(0) if ends else int(room.argmax())
        order.append(open_[place])
        room = np.minimum(room, np.square(scaled - scaled[place]).sum(axis=1))
        room[place] = -1.0
    taken = set(order)
    return order + [i for i in everything if i not in taken]
