"""Asynchronous successive halving (ASHA) with several objectives.

Optuna prunes only single-objective studies. Here a trial that reaches a rung continues if it is
among the best 1/η of the trials that have reached it (ASHA, arXiv:1810.05934). With several
objectives, trials are ranked by non-dominated sorting (Schmucker et al. 2021, arXiv:2106.12639).
The front through which the cut goes is ordered by ``tie_break``, see ``TIES``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.config.metrics import OF_CLASSES
from harness.records import append_jsonl, read_jsonl
from harness.search.near_best import near_best_first
from harness.search.pruning.pareto_fronts import ParetoFronts, crowding
from harness.statistics.comparing.one_seed import within_noise
from harness.statistics.measurements.names import VALIDATION, VALIDATION_PERPLEXITY
from harness.statistics.pareto import MAXIMIZE

WATCHED = tuple(f"{VALIDATION}{kind}" for kind in ("perplexity", *OF_CLASSES))


def watched(name: str, way: str) -> tuple[str, str]:
    """Return the metric to prune by: perplexity if the objective is not measured during training."""
    if name.startswith(VALIDATION) and name not in WATCHED:
        return VALIDATION_PERPLEXITY, "minimize"
    return name, way


@dataclass(frozen=True)
class Standing:
    """Rank of a stopped trial among those that had reached the same rung."""

    evaluation: int  # the rung: the number of the evaluation, from 1
    rank: int  # from 1: by front, then by ``tie_break``
    trials: int  # number that had reached the rung, including this one
    kept: int  # number of them that continue
    values: dict[str, float]  # of this trial
    best: dict[str, float]  # best of each measurement over all trials on the rung


@dataclass(frozen=True)
class _Seen:
    losses: list[float]
    go: bool
    standing: Standing | None = None  # None: the trial continued


@dataclass
class _Rung:
    levels: ParetoFronts
    seen: dict[str, _Seen] = field(default_factory=dict)  # by trial


class RungTable:
    """The values of each trial at each rung, and the decisions: one line each in a file.

    A resumed sweep reads the file and decides the same. A partial last line affects only one trial,
    which asks again. A decision depends on the values recorded before, but not on their order or on
    the names of trials. Of two equal trials, the new one ranks first.
    """

    def __init__(
        self,
        path: Path,
        objectives: Mapping[str, str],
        reduction_factor: int,
        grace_evaluations: int,
        tie_break: str = "near_best",
        margin: float | None = None,
    ) -> None:
        """Read the decisions in the file ``path``.

        ``margin`` is the user's margin of quality. It is not used if perplexity replaces the
        objective.
        """
        self._path = path
        self._objectives = list(
            dict.fromkeys(watched(name, way) for name, way in objectives.items())
        )
        self._factor, self._grace = reduction_factor, grace_evaluations
        name, way = self._objectives[0]
        asked = margin if name == next(iter(objectives)) else None
        self._ranked = partial(
            TIES[tie_break], quality=name, maximize=way == MAXIMIZE, margin=asked
        )
        self._rungs: dict[str, _Rung] = {}
        for row in read_jsonl(path):
            stored = row.get("standing")
            seen = _Seen(row["losses"], row["go"], Standing(**stored) if stored else None)
            self._remember(row["rung"], row["trial"], seen)

    def goes_on(self, study: str, evaluation: int, trial: str, values: Mapping[str, float]) -> bool:
        """Record a trial's values at an ``evaluation`` (from 1) and return whether it continues."""
        return self.decide(study, evaluation, trial, values)[0]

    def decide(
        self, study: str, evaluation: int, trial: str, values: Mapping[str, float]
    ) -> tuple[bool, Standing | None]:
        """Record the values of ``trial``. Return whether it continues, and its standing if it does not.

        The same values give the same answer. Between rungs every trial continues.
        """
        if not self._is_rung(evaluation) or any(name not in values for name, _ in self._objectives):
            return True, None
        losses = [values[name] * (-1 if way == "maximize" else 1) for name, way in self._objectives]
        name = f"{study}/{evaluation}"
        before = self._rungs[name].seen.get(trial) if name in self._rungs else None
        if before is not None and before.losses == losses:
            return before.go, before.standing
        rung, place = self._remember(name, trial, _Seen(losses, True))
        n = len(rung.levels)
        kept = max(1, n // self._factor) if n >= self._factor else n
        rank = self._rank(rung.levels, place, losses, kept)
        go, standing = rank <= kept, None
        row: dict[str, Any] = {"rung": name, "trial": trial, "losses": losses, "go": go}
        if not go:
            own = {name: values[name] for name, _ in self._objectives}
            standing = Standing(evaluation, rank, n, kept, own, self._best(rung))
            row["standing"] = asdict(standing)
        rung.seen[trial] = _Seen(losses, go, standing)
        append_jsonl(self._path, [row])
        return go, standing

    def _is_rung(self, evaluation: int) -> bool:
        """Return whether ``evaluation`` is a rung: grace_evaluations × η^k for an integer k ≥ 0."""
        rung = self._grace
        while rung < evaluation:
            rung *= self._factor
        return rung == evaluation

    def _remember(self, name: str, trial: str, seen: _Seen) -> tuple[_Rung, int]:
        """Put a trial on a rung, replacing its earlier values.

        Returns the rung and the number of the trial's front.
        """
        rung = self._rungs.get(name)
        if rung is None or trial in rung.seen:
            others = {} if rung is None else {k: v for k, v in rung.seen.items() if k != trial}
            rung = self._rungs[name] = _Rung(ParetoFronts(len(self._objectives)), others)
            for kept in others.values():
                rung.levels.add(kept.losses)
        rung.seen[trial] = seen
        return rung, rung.levels.add(seen.losses)

    def _rank(self, levels: ParetoFronts, place: int, losses: list[float], kept: int) -> int:
        """Return the rank of a new trial in front ``place``; it continues with a rank of 1 to ``kept``.

        The order within the front is computed only if the cut goes through the front or before it.
        """
        ahead = levels.before(place)
        front = levels.front(place)
        if ahead + len(front) <= kept:
            return ahead + 1
        points, counts = np.unique(front, axis=0, return_counts=True)  # sorted by value
        (own,) = np.flatnonzero((points == losses).all(axis=1))
        for index in self._ranked(points):
            if index == own:
                break
            ahead += int(counts[index])
        return ahead + 1

    def _best(self, rung: _Rung) -> dict[str, float]:
        every = [seen.losses for seen in rung.seen.values()]
        least = [min(column) for column in zip(*every, strict=True)]
        named = zip(self._objectives, least, strict=True)
        return {name: loss * (-1 if way == "maximize" else 1) for (name, way), loss in named}


def by_nearness(
    points: NDArray[np.float64], quality: str, maximize: bool, margin: float | None
) -> Sequence[int]:
    """Order as finalists are: the best, then the least forgetting within its margin, and so on.

    During training neither items nor seeds are resampled, so only the margin decides what is near.
    """
    values = -points[:, 0] if maximize else points[:, 0]
    near = within_noise(quality, values, [None] * len(points), maximize, margin)
    return near_best_first(points, near)


def by_crowding(points: NDArray[np.float64], **_: object) -> Sequence[int]:
    """Order by crowding distance (NSGA-II), after the best by the first objective."""
    everyone = range(len(points))
    distance = crowding(points.tolist(), list(everyone))
    return [0, *sorted(everyone[1:], key=lambda i: (-distance[i], i))]


def by_epsilon_net(points: NDArray[np.float64], **_: object) -> Sequence[int]:
    """Order by distance to all points taken so far, after the best by the first objective.

    arXiv:2106.12639, §4.1. Distances are relative to each objective's range over the front, so that
    units do not matter.
    """
    spread = np.ptp(points, axis=0)
    scaled = (points - points.min(axis=0)) / np.where(spread > 0, spread, 1.0)
    order = [0]
    nearest = np.full(len(points), np.inf)
    while len(order) < len(points):
        nearest = np.minimum(nearest, np.square(scaled - scaled[order[-1]]).sum(axis=1))
        nearest[order] = -1.0
        order.append(int(nearest.argmax()))  # the first maximum, which is the best by value
    return order


# Name → function that returns the order of a front's points, which are distinct and sorted by value.
TIES: dict[str, Callable[..., Sequence[int]]] = {
    "near_best": by_nearness,
    "crowding": by_crowding,
    "epsnet": by_epsilon_net,
}
