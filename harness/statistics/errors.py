"""Standard errors of scores and of their differences over items and seeds, with degrees of freedom.

The model is the crossed one: the score of seed s on n items is a mean, plus items, plus seed, plus
items × seed; all candidates answer the same items. Over new items *and* new seeds the mean of S seeds
has the variance (MS_items + MS_seeds − MS_interaction)/(n·S) (two-way random effects; Searle, Casella
& McCulloch 1992, ch. 4), so what seeds do to single items is not counted twice.

S is 2 or 3, so a candidate's own variance of seeds is hardly known. It is pooled over candidates:
not as such, for it differs between methods many times over, but as the factor φ by which it exceeds
what the interaction alone would give, which each candidate's own items tell well. A candidate's φ
is drawn to the common one with ``PRIOR_DF`` degrees of freedom (moderated variance, Smyth 2004,
Stat. Appl. Genet. Mol. Biol. 3:3). Assumes items and seeds drawn at random, and seed effects that
are near normal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.statistics.replicates import Replicates
from harness.statistics.scores import Array

PRIOR_DF = 4.0  # how alike methods are in φ; see docs/statistics.md


@dataclass(frozen=True)
class Error:
    """Standard error of one number in its two parts; ``df`` by Satterthwaite 1946."""

    items: float  # from the choice of items; 0 where they are not known
    seeds: float  # from the choice of seeds; 0 where nobody has two
    df: float

    @property
    def total(self) -> float:
        return math.hypot(self.items, self.seeds)


class Errors:
    """Errors of k candidates measured by one score."""

    def __init__(self, found: Sequence[Replicates]) -> None:
        self.found = tuple(found)
        self.seeds_known = any(one.spread is not None and not one.fixed for one in found)
        self.items_known = all(one.n or one.item_error is not None for one in found)
        self.known = self.seeds_known or self.items_known
        self._spread = _seed_variances(found)  # (k,) of one seed's score
        self._all = float(sum(len(one.values) - 1 for one in found if not one.fixed))
        self._prior = min(PRIOR_DF, self._all)
        self._items = _item_covariances(found)  # (k, k) of the means over seeds

    def of(self, i: int) -> Error:
        """Of candidate i's mean score."""
        return self._error(float(self._items[i, i]), (i,))

    def between(self, i: int, j: int) -> Error:
        """Of the difference of candidates i and j on the same items."""
        a = self._items
        return self._error(float(a[i, i] + a[j, j] - 2 * a[i, j]), (i, j))

    @property
    def item_covariance(self) -> Array:
        """(k, k) over items, of the means, without what the seeds do to single items."""
        twice = [(one.interaction or 0.0) / len(one.values) if one.n else 0.0 for one in self.found]
        covariance = self._items - np.diag(twice)
        return covariance

    def seed_variance(self, i: int) -> float:
        """Of candidate i's mean; 0 where it is not known."""
        return float(self._spread[i]) / len(self.found[i].values) if self.seeds_known else 0.0

    def _error(self, items: float, which: tuple[int, ...]) -> Error:
        """``items`` still holds the interaction, which the seeds' variance holds as well."""
        counted_twice = sum(
            (self.found[i].interaction or 0.0) / len(self.found[i].values)
            for i in which
            if self.found[i].n
        )
        items = max(0.0, items - counted_twice)
        if not self.seeds_known:
            return Error(math.sqrt(items), 0.0, self._items_df())
        of_each = [self._spread[i] / len(self.found[i].values) for i in which]
        seeds, seeds_df = sum(of_each), self._seeds_df(which, of_each)
        # A variance that is known from a few seeds lies below the true one more often than not, and
        # then seems to matter less than it does: it is weighed as if the estimate were its median.
        weighed = seeds / (1 - 2 / (9 * seeds_df)) ** 3
        spread = items**2 / self._items_df() + weighed**2 / seeds_df
        df = (items + weighed) ** 2 / spread if spread > 0 else math.inf
        return Error(math.sqrt(items), math.sqrt(seeds), df)

    def _seeds_df(self, which: Sequence[int], variances: Sequence[float]) -> float:
        """The common factor's, and the candidates' own (Welch), but no more than there are in all."""
        own = [len(self.found[i].values) - 1 for i in which]
        spread = sum(v * v / df for v, df in zip(variances, own, strict=True) if df)
        welch = sum(v for v, df in zip(variances, own, strict=True) if df) ** 2
        return min(self._prior + (welch / spread if spread > 0 else 0.0), self._all)

    def _items_df(self) -> float:
        known = [one.n for one in self.found if one.n]
        return min(known) - 1.0 if known else math.inf


def _seed_variances(found: Sequence[Replicates]) -> Array:
    """(k,) variances of one seed's score; of who has one seed the others' mean. NaN: unknown."""
    several = [i for i, one in enumerate(found) if one.spread is not None and not one.fixed]
    variances = np.full(len(found), np.nan)
    if not several:
        return variances
    df = np.array([len(found[i].values) - 1.0 for i in several])
    spread = np.array([found[i].spread for i in several])
    scale = np.array([found[i].interaction or 0.0 for i in several])
    scaled = bool((scale > 0).all())
    if not scaled:  # items are not known: the variances as such
        scale = np.ones(len(several))
    factor = spread / scale
    prior = min(PRIOR_DF, float(df.sum()))
    drawn = (prior * np.average(factor, weights=df) + df * factor) / (prior + df)
    if scaled:  # seeds cannot differ by less than what they do to single items
        drawn = np.maximum(drawn, 1.0)
    variances[:] = np.average(drawn * scale, weights=df)
    variances[several] = drawn * scale
    variances[[one.fixed for one in found]] = 0.0
    return variances


def _item_covariances(found: Sequence[Replicates]) -> Array:
    """(k, k) covariances over items of the means; 0 between candidates of different items."""
    k = len(found)
    covariances = np.zeros((k, k))
    for n in {one.n for one in found if one.n}:
        which = [i for i in range(k) if found[i].n == n]
        means = np.stack([found[i].mean_influence for i in which])
        covariances[np.ix_(which, which)] = means @ means.T / (n * (n - 1))
    for i, one in enumerate(found):
        if one.n is None and one.item_error is not None:
            covariances[i, i] = one.item_error**2
    return covariances
