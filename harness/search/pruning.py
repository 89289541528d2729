"""Stop what is dominated early: asynchronous successive halving over several objectives.

Optuna prunes single-objective studies only. Here a trial that reaches a rung goes on if it is among
the best 1/η of those that have reached it, by non-dominated sorting, ties broken by crowding
(ASHA, arXiv:1810.05934; NSGA-II, Deb et al. 2002).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.config.metrics import OF_CLASSES
from harness.records import read_json, write_json
from harness.search.selection import best_first

WATCHED = tuple(f"validation.{kind}" for kind in ("perplexity", *OF_CLASSES))


def watched(name: str, way: str) -> tuple[str, str]:
    """What is not measured during training, as scores of answers, is stood in for by what is."""
    if name.startswith("validation.") and name not in WATCHED:
        return "validation.perplexity", "minimize"
    return name, way


class RungTable:
    """Who reached which rung with what; kept in a file, so that a resumed sweep decides alike."""

    def __init__(
        self,
        path: Path,
        objectives: Mapping[str, str],
        reduction_factor: int,
        grace_evaluations: int,
    ) -> None:
        self._path = path
        self._objectives = [watched(name, way) for name, way in objectives.items()]
        self._factor, self._grace = reduction_factor, grace_evaluations
        self._rungs: dict[str, dict[str, list[float]]] = read_json(path) or {}

    def goes_on(self, study: str, evaluation: int, trial: str, values: Mapping[str, float]) -> bool:
        """Record ``trial`` at its ``evaluation``-th one (from 1), and say whether it may go on."""
        if evaluation < self._grace or any(name not in values for name, _ in self._objectives):
            return True
        rung = self._rungs.setdefault(f"{study}/{evaluation}", {})
        rung[trial] = [values[name] for name, _ in self._objectives]
        write_json(self._path, self._rungs)
        if len(rung) < self._factor:
            return True
        names = sorted(rung)  # the order in which trials came must not matter
        ways = [way for _, way in self._objectives]
        ranked = best_first([rung[name] for name in names], ways)
        kept = max(1, len(names) // self._factor)
        return names.index(trial) in ranked[:kept]
