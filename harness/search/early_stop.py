"""Early end of a method's search (``search.stop``).

With one objective the search ends when the expected regret of the best trial, bounded by a Gaussian
process, is below what the validation split can resolve (Makarova et al. 2022, automatic termination;
Optuna's ``RegretBoundEvaluator``). With several it ends when the hypervolume of the front has not
grown by more than a share of itself over the last trials.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from harness.config import SearchConfig
from harness.records import read_json, write_json
from harness.statistics.pareto import hypervolume

FEWEST = 20  # complete trials before a single objective is judged, as in Optuna


class Stopping:
    """Decides when one method's search is over; kept in ``stopped.json`` of the sweep's folder."""

    def __init__(self, path: Path, method: str, search: SearchConfig, ways: Sequence[str]) -> None:
        self._path, self._method, self._search = path, method, search
        self._ways = list(ways)
        self._judged_at = 0
        known = read_json(path) or {}
        self.reason: str | None = known.get(method, {}).get("reason")

    def stop(self, reason: str, trials: int) -> None:
        """Record the reason, so that a resumed sweep stays stopped and the report states it."""
        self.reason = reason
        known = read_json(self._path) or {}
        write_json(self._path, {**known, self._method: {"trials": trials, "reason": reason}})

    def expects_nothing(self, trials: Callable[[], Sequence[FrozenTrial]]) -> str | None:
        """Return why no better trial is expected; None if one may come, or without ``search.stop``.

        ``trials`` gives the complete ones that keep all limits, in order.
        """
        if self._search.stop == "none":
            return None
        judged = trials()
        if len(judged) < self._judged_at:
            return None  # check again after a twentieth more trials
        self._judged_at = len(judged) + max(1, len(judged) // 20)
        if len(self._ways) == 1:
            return self._regret(judged)
        return self._growth(judged)

    def _growth(self, judged: Sequence[FrozenTrial]) -> str | None:
        n, share = self._search.stop_trials, self._search.stop_share
        if len(judged) <= n + len(self._ways):
            return None
        points = np.array([trial.values for trial in judged])
        signs = np.array([-1.0 if way == "maximize" else 1.0 for way in self._ways])
        losses = points * signs
        worst, spread = losses.max(axis=0), np.ptp(losses, axis=0)
        if not spread.all():
            return None
        scaled = (losses - worst) / spread  # in [-1, 0], so that units do not matter
        corner, ways = [0.0] * len(signs), ["minimize"] * len(signs)
        now, then = (hypervolume(part, ways, corner) for part in (scaled, scaled[:-n]))
        if now > then * (1 + share):
            return None
        return (
            f"the front has not grown by more than {100 * share:g} % over the last {n} trials "
            "(hypervolume)"
        )

    def _regret(self, judged: Sequence[FrozenTrial]) -> str | None:
        if len(judged) < FEWEST or not judged[0].distributions:
            return None
        errors = [e for t in judged if (e := t.user_attrs.get("standard_error")) is not None]
        if not errors:
            return None  # nothing to compare a regret with
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # experimental, and about to move to another package
            from optuna.terminator import RegretBoundEvaluator

            way = (
                StudyDirection.MAXIMIZE if self._ways[0] == "maximize" else StudyDirection.MINIMIZE
            )
            bound = RegretBoundEvaluator(seed=len(judged)).evaluate(list(judged), way)
        error = float(np.median(errors))
        if bound >= error:
            return None
        return (
            f"no trial is expected to be better than the best by more than {bound:.3g}, and the "
            f"standard error on validation is {error:.3g}"
        )
