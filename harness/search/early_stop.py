"""Early end of a method's search (``search.stop``).

With one objective, the search ends when the expected regret of the best trial is smaller than the
validation split can resolve. A Gaussian process bounds the regret (Makarova et al. 2022, automatic
termination; Optuna's ``RegretBoundEvaluator``).
With several objectives, it ends when the last trials have not improved the front: its hypervolume
grew by less than a given share, and the best quality by less than its margin. It goes on while a third
of a setting's range has not been tried, for the last trials say nothing about that.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from harness.config import SearchConfig
from harness.language import recorded
from harness.records import read_json, write_json
from harness.statistics.comparing.margins import margin_of
from harness.statistics.comparing.replicates import to_scale
from harness.statistics.pareto import MAXIMIZE, hypervolume, reference_point
from harness.statistics.scores import Array

FEWEST = 20  # complete trials before the regret is estimated, as in Optuna


class Stopping:
    """Decides when one method's search is over. Stored in ``stopped.json`` of the sweep's folder."""

    def __init__(
        self,
        path: Path,
        method: str,
        search: SearchConfig,
        objectives: Mapping[str, str],  # quality first
        margin: float | None = None,  # of quality, if the user set one
    ) -> None:
        self._path, self._method, self._search = path, method, search
        self._quality, self._margin = next(iter(objectives)), margin
        self._ways = list(objectives.values())
        self._judged_at = 0
        known = read_json(path) or {}
        self.reason: str | None = known.get(method, {}).get("reason")

    def stop(self, reason: str, trials: int) -> None:
        """Record the reason, so that a resumed sweep stays stopped and the report states it."""
        self.reason = reason
        known = read_json(self._path) or {}
        write_json(self._path, {**known, self._method: {"trials": trials, "reason": reason}})

    def expects_nothing(
        self, trials: Callable[[], Sequence[FrozenTrial]], open_: Callable[[], str | None]
    ) -> str | None:
        """Return why no better trial is expected; None if one may come, or without ``search.stop``.

        ``trials`` returns the complete trials that keep all limits, in order. ``open_`` returns a
        setting of which a large part has not been tried (``untried.untried``), or None.
        """
        if self._search.stop == "none":
            return None
        judged = trials()
        if len(judged) < self._judged_at:
            return None  # the next check comes after 5 % more trials
        self._judged_at = len(judged) + max(1, len(judged) // 20)
        if len(self._ways) == 1:
            return self._regret(judged)
        reason = self._growth(judged)
        return None if reason is None or open_() is not None else reason

    def _growth(self, judged: Sequence[FrozenTrial]) -> str | None:
        n, share = self._search.stop_trials, self._search.stop_share
        if len(judged) <= n + len(self._ways):
            return None
        points = np.array([trial.values for trial in judged])
        corner = reference_point(points, self._ways, judged[-1].user_attrs.get("base"))
        now, then = (hypervolume(part, self._ways, corner) for part in (points, points[:-n]))
        if now <= 0 or now > then * (1 + share) or self._improved(points[:, 0], n):
            return None
        return recorded(
            "the front has not grown by more than {percent:g} % over the last {n} trials "
            "(hypervolume), nor the best quality by more than its margin",
            percent=100 * share,
            n=n,
        )

    def _improved(self, quality: Array, n: int) -> bool:
        """Return whether the best quality (trials,) rose by more than its margin in the last n."""
        maximize = self._ways[0] == MAXIMIZE
        scores = to_scale(self._quality, quality) * (1.0 if maximize else -1.0)
        gain = float(scores.max() - scores[:-n].max())
        return gain > margin_of(self._quality, float(abs(scores.max())), self._margin)

    def _regret(self, judged: Sequence[FrozenTrial]) -> str | None:
        if len(judged) < FEWEST or not judged[0].distributions:
            return None
        errors = [e for t in judged if (e := t.user_attrs.get("standard_error")) is not None]
        if not errors:
            return None  # without a standard error the regret has no scale
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
        return recorded(
            "no trial is expected to be better than the best by more than {bound:.3g}, and the "
            "standard error on validation is {error:.3g}",
            bound=bound,
            error=error,
        )
