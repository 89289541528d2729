"""Order in which configurations are confirmed: the best, then those about as good that forget less."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.search.pruning.pareto_fronts import dominated_by


def near_best_first(losses: NDArray[np.float64], near: NDArray[np.bool_]) -> list[int]:
    """Return the order of the rows of (n, m) losses in which to confirm them.

    The mask ``near`` (n,) marks the rows within noise of the best by the first loss. The best comes
    first. Of the near ones, those with the least value of each other loss follow. Then comes the
    rest of their front, always the point farthest from those taken, so that they spread out. All
    others follow by their first loss: they would never be chosen, whatever their other losses are.
    """
    everything = [
        int(i) for i in np.lexsort(losses.T[::-1])
    ]  # sorted by the first loss, then by the others
    open_ = [i for i in everything if near[i] and not dominated_by(losses[near], losses[i]).any()]
    front = losses[open_]
    ends = list(dict.fromkeys([0, *(int(column.argmin()) for column in front.T[1:])]))
    spread = np.ptp(front[:, 1:], axis=0)
    scaled = front[:, 1:] / np.where(spread > 0, spread, 1.0)
    room = np.full(len(open_), np.inf)  # squared distance to the nearest point taken
    order = []
    for _ in open_:
        place = ends.pop(0) if ends else int(room.argmax())
        order.append(open_[place])
        room = np.minimum(room, np.square(scaled - scaled[place]).sum(axis=1))
        room[place] = -1.0
    taken = set(order)
    return order + [i for i in everything if i not in taken]
