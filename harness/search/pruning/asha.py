"""Early stopping of dominated trials: asynchronous successive halving with several objectives.

Optuna prunes single-objective studies only. Here a trial that reaches a rung goes on if it is among
the best 1/η of those that have reached it, by non-dominated sorting (ASHA, arXiv:1810.05934; with
several objectives Schmucker et al. 2021, arXiv:2106.12639). Within the front that is cut, the best by
the first objective comes first, then those that cover most of the front: see ``TIES``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.config.metrics import OF_CLASSES
from harness.records import append_jsonl, read_jsonl
from harness.search.pruning.pareto_fronts import ParetoFronts, crowding
from harness.statistics.measurements.names import VALIDATION, VALIDATION_PERPLEXITY

WATCHED = tuple(f"{VALIDATION}{kind}" for kind in ("perplexity", *OF_CLASSES))


def watched(name: str, way: str) -> tuple[str, str]:
    """Return the metric to prune by: perplexity in place of scores that training does not measure."""
    if name.startswith(VALIDATION) and name not in WATCHED:
        return VALIDATION_PERPLEXITY, "minimize"
    return name, way


@dataclass
class _Rung:
    levels: ParetoFronts
    seen: dict[str, tuple[list[float], bool]] = field(default_factory=dict)  # trial → losses, go


class RungTable:
    """The values of each trial at each rung, and the decisions, one line each in a file.

    A resumed sweep reads the file and decides alike. A torn last line affects one trial only, which
    asks again. A decision depends on the values recorded before, not on their order nor on the names
    of trials: a trial equal to a newcomer counts as behind it.
    """

    def __init__(
        self,
        path: Path,
        objectives: Mapping[str, str],
        reduction_factor: int,
        grace_evaluations: int,
        tie_break: str = "crowding",
    ) -> None:
        self._path = path
        self._objectives = list(dict.fromkeys(watched(*pair) for pair in objectives.items()))
        self._factor, self._grace = reduction_factor, grace_evaluations
        self._ranked = TIES[tie_break]
        self._rungs: dict[str, _Rung] = {}
        for row in read_jsonl(path):
            self._remember(row["rung"], row["trial"], row["losses"], row["go"])

    def goes_on(self, study: str, evaluation: int, trial: str, values: Mapping[str, float]) -> bool:
        """Record ``trial`` at its ``evaluation``-th one (from 1), and return whether it continues.

        The same values give the same answer. Between rungs every trial continues.
        """
        if not self._is_rung(evaluation) or any(name not in values for name, _ in self._objectives):
            return True
        losses = [values[name] * (-1 if way == "maximize" else 1) for name, way in self._objectives]
        name = f"{study}/{evaluation}"
        before = self._rungs[name].seen.get(trial) if name in self._rungs else None
        if before is not None and before[0] == losses:
            return before[1]
        rung, place = self._remember(name, trial, losses)
        go = self._decide(rung.levels, place, losses)
        rung.seen[trial] = losses, go
        append_jsonl(self._path, [{"rung": name, "trial": trial, "losses": losses, "go": go}])
        return go

    def _is_rung(self, evaluation: int) -> bool:
        """Return whether it is a rung: the first after the grace period, then each η times further."""
        rung = self._grace
        while rung < evaluation:
            rung *= self._factor
        return rung == evaluation

    def _remember(
        self, name: str, trial: str, losses: list[float], go: bool = True
    ) -> tuple[_Rung, int]:
        """Put a trial on a rung, replacing its earlier values.

        The rung, and the front that the trial is in.
        """
        rung = self._rungs.get(name)
        if rung is None or trial in rung.seen:
            others = {} if rung is None else {k: v for k, v in rung.seen.items() if k != trial}
            rung = self._rungs[name] = _Rung(ParetoFronts(len(self._objectives)), others)
            for kept, _ in others.values():
                rung.levels.add(kept)
        rung.seen[trial] = losses, go
        return rung, rung.levels.add(losses)

    def _decide(self, levels: ParetoFronts, place: int, losses: list[float]) -> bool:
        if len(levels) < self._factor:
            return True
        free = max(1, len(levels) // self._factor) - levels.before(place)
        if free <= 0:
            return False
        front = levels.front(place)
        if len(front) <= free:
            return True
        points, counts = np.unique(front, axis=0, return_counts=True)  # sorted by value
        (own,) = np.flatnonzero((points == losses).all(axis=1))
        for index in self._ranked(points):
            if index == own:
                return True
            free -= counts[index]
            if free <= 0:
                break
        return False


def by_crowding(points: NDArray[np.float64]) -> Sequence[int]:
    """Order by the first objective for the best, then by crowding distance (NSGA-II)."""
    everyone = range(len(points))
    distance = crowding(points.tolist(), list(everyone))
    return [0, *sorted(everyone[1:], key=lambda i: (-distance[i], i))]


def by_epsilon_net(points: NDArray[np.float64]) -> Sequence[int]:
    """Order by the first objective for the best, then by the distance to all taken so far.

    arXiv:2106.12639, §4.1. Distances are shares of each objective's range over the front, so that
    units do not matter.
    """
    spread = np.ptp(points, axis=0)
    scaled = (points - points.min(axis=0)) / np.where(spread > 0, spread, 1.0)
    order = [0]
    nearest = np.full(len(points), np.inf)
    for _ in range(len(points) - 1):
        nearest = np.minimum(nearest, np.square(scaled - scaled[order[-1]]).sum(axis=1))
        nearest[order] = -1.0
        order.append(int(nearest.argmax()))  # the first of several, which is the best by value
    return order


# Ways to rank the points of one front, distinct and sorted by value, the best first.
TIES: dict[str, Callable[[NDArray[np.float64]], Sequence[int]]] = {
    "crowding": by_crowding,
    "epsnet": by_epsilon_net,
}
