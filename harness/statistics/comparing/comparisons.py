"""Candidates compared in one measurement: differences with errors, tested as one family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import special

from harness.statistics.comparing.draws import redraw
from harness.statistics.comparing.letters import compact_letters
from harness.statistics.comparing.replicates import Replicates
from harness.statistics.comparing.simultaneous import (
    LEVEL,
    best_reach,
    reach,
    tukey_p,
    tukey_reach,
    two_sided_p,
)
from harness.statistics.comparing.standard_errors import Error, Errors
from harness.statistics.scores import Array

CHANCE_DRAWS = 20_000  # the standard error of a chance of 5 % is then 0.15 %


@dataclass(frozen=True)
class ScoreDifference:
    """Difference a minus b in the unit of the measurement, with its error as far as known."""

    difference: float
    low: float | None  # 95 % interval of this difference alone; None if its error is unknown
    high: float | None
    p_value: float | None  # two-sided, for this difference alone, corrected for repeated looks
    p_family: float | None  # among all pairs of candidates (Tukey), corrected for repeated looks
    error: Error | None
    different: bool  # significant at a family-wise error rate of 5 % over all pairs


class Comparisons:
    """Comparisons of k candidates in one measurement. Untested differences are never significant.

    A difference is tested if the between-seed variance is known, from its own seeds or those of
    other candidates. ``level`` is the level of the tests at this look (``looks.level_at``); intervals
    have 95 % at every look. ``dropped`` candidates are not compared, but add to the estimate of the
    seed variance.
    """

    def __init__(
        self,
        found: Sequence[Replicates],
        maximize: bool,
        level: float = LEVEL,
        dropped: Sequence[Replicates] = (),
    ) -> None:
        self.found, self.maximize, self.level = tuple(found), maximize, level
        self.errors = Errors((*self.found, *dropped))
        self.means = np.array([one.mean for one in found], dtype=float)

    @property
    def tested(self) -> bool:
        return self.errors.seeds_known

    def interval(self, i: int) -> tuple[float, float] | None:
        """Return the 95 % interval of candidate i's score over new items and, if known, new seeds."""
        if not self.errors.known:
            return None
        error = self.errors.of(i)
        if not np.isfinite(error.total):
            return None
        half = reach(error.df) * error.total
        return float(self.means[i] - half), float(self.means[i] + half)

    def difference(self, i: int, j: int) -> ScoreDifference:
        """Return candidate i minus candidate j."""
        gap = float(self.means[i] - self.means[j])
        if not self.errors.known:
            return ScoreDifference(gap, None, None, None, None, None, False)
        error = self.errors.between(i, j)
        half = reach(error.df) * error.total
        if not self.tested:
            return ScoreDifference(gap, gap - half, gap + half, None, None, error, False)
        if error.total == 0:
            p = family = 1.0 if gap == 0 else 0.0
        else:
            p = self._priced(two_sided_p(gap / error.total, error.df))
            family = self._priced(tukey_p(gap / error.total, len(self.found), error.df))
        return ScoreDifference(
            gap, gap - half, gap + half, p, family, error, bool(self.different[i, j])
        )

    def _priced(self, p: float) -> float:
        """Return p so that it is at most 0.05 where this look's test rejects."""
        return min(1.0, p * LEVEL / self.level)

    @cached_property
    def _errors(self) -> tuple[Array, Array]:
        """Return (k, k) standard errors and degrees of freedom of all differences."""
        k = len(self.found)
        total, df = np.zeros((k, k)), np.ones((k, k))
        for i in range(k):
            for j in range(i):
                error = self.errors.between(i, j)
                total[i, j] = total[j, i] = error.total
                df[i, j] = df[j, i] = error.df
        return total, df

    @cached_property
    def different(self) -> np.ndarray:
        """Return (k, k) significance of differences: Tukey's test of all pairs, 5 % for the family."""
        k = len(self.found)
        shown = np.zeros((k, k), dtype=bool)
        if not self.tested:
            return shown
        total, df = self._errors
        for i in range(k):
            for j in range(i):
                gap = abs(self.means[i] - self.means[j])
                shown[i, j] = gap > tukey_reach(len(self.found), df[i, j], self.level) * total[i, j]
        return shown | shown.T

    @cached_property
    def shortfall(self) -> Array:
        """Return (k,) bounds on how far each may lie below the best of the others, at 95 % confidence.

        Negative if a candidate is shown to be better than all others. The bound is the smallest
        margin at which candidate i is shown not inferior to the best: lower bounds of Hsu's
        multiple comparisons with the best. Infinite if seeds are unknown; 0 for a single candidate.
        """
        k = len(self.found)
        if k == 1:
            return np.zeros(1)
        return self.shortfalls(self.means, self.reaches) if self.tested else np.full(k, np.inf)

    @cached_property
    def reaches(self) -> Array:
        """Return (k, k) one-sided error bounds of differences, k − 1 of them simultaneously."""
        total, df = self._errors
        return best_reach(len(self.found), df, self.level) * total

    def shortfalls(self, means: Array, reaches: Array) -> Array:
        """Return (..., k) shortfalls from (..., k) means and (k, k) error bounds ``reaches``."""
        sign = 1.0 if self.maximize else -1.0
        behind = (
            sign * (means[..., None, :] - means[..., :, None]) + reaches
        )  # (..., i, j): j before i
        diagonal = np.arange(means.shape[-1])
        behind[..., diagonal, diagonal] = -np.inf
        return behind.max(axis=-1)

    def chances_ahead(self, margin: float) -> Array:
        """Return (k, k) probabilities that j is better than i by more than ``margin``, for (i, j).

        They are for other items and seeds, of each pair alone, with a flat prior; 0 on the diagonal.
        All are 1 if seeds are unknown. A stop as soon as they are small is wrong more often than they
        state, so it shows nothing; ``shortfall`` does.
        """
        chances = np.ones((len(self.found), len(self.found)))
        if self.tested:
            total, df = self._errors
            sign = 1.0 if self.maximize else -1.0
            behind = sign * (self.means[:, None] - self.means) + margin
            with np.errstate(divide="ignore", invalid="ignore"):
                chances = special.stdtr(df, np.where(total > 0, -behind / total, -np.inf))
            chances = np.where((total == 0) & (behind < 0), 1.0, chances)
        np.fill_diagonal(chances, 0.0)
        return chances

    def chance_beyond(self, i: int, margin: float, rng: np.random.Generator) -> float | None:
        """Return the probability that another one is better than i by more than ``margin``.

        It is for other items and seeds, with a flat prior: a share of draws from the multivariate t
        distribution (Box & Tiao 1973, §2.7). Where candidates are alike it is above the true one.
        None if seeds are unknown.
        """
        if not self.tested:
            return None
        k = len(self.found)
        if k == 1:
            return 0.0
        df = float(np.delete(self._errors[1][i], i).min())
        drawn = redraw(self.errors, self.means, CHANCE_DRAWS, rng, df)
        drawn = drawn if self.maximize else -drawn
        return float(np.mean(drawn.max(axis=1) - drawn[:, i] > margin))

    def letters(self) -> list[str]:
        """Return (k,) letters, A with the best.

        Two candidates share one if they do not differ significantly.
        """
        order = np.argsort(-self.means if self.maximize else self.means, kind="stable")
        found = compact_letters(self.different[np.ix_(order, order)])
        letters = [""] * len(order)
        for place, i in enumerate(order):
            letters[i] = found[place]
        return letters
