"""Standard errors of scores and of their differences over items and seeds, with degrees of freedom.

Model: two crossed random effects. The score of seed s on n items is a mean, plus an effect of the
items, of the seed, and of items × seed. All candidates answer the same items. Over new items *and* new
seeds, the mean of S seeds has the variance (MS_items + MS_seeds − MS_interaction)/(n·S) (Searle,
Casella & McCulloch 1992, ch. 4). Subtracting the interaction avoids counting it twice.

S is only 2 or 3, so a candidate's seed variance is poorly known and is pooled over candidates. The
variances themselves differ between methods many times over. The factor φ is pooled instead: the seed
variance divided by the variance that the interaction alone would give, which is well known from the
candidate's items. A candidate's φ is shrunk towards the common φ with ``PRIOR_DF`` degrees of freedom
(moderated variance, Smyth 2004, Stat. Appl. Genet. Mol. Biol. 3:3), but never below its own estimate.

Candidates with the same seeds saw the same data in the same order. If enough candidates share seeds,
the common effect of a seed is removed from their differences, as in a randomized block design.

Shares of yes/no results have a variance also where all results agree (``harness.statistics.unseen``).

Assumes items and seeds drawn at random, and seed effects that are near normal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from harness.statistics.comparing.replicates import Replicates
from harness.statistics.scores import Array

PRIOR_DF = 6.0  # strength of the pooling of φ; see docs/statistics.md
LOW = 0.42  # quantile of a seed variance in the degrees of freedom; see docs/statistics.md
PAIRED_DF = 5  # fewest degrees of freedom of the seed variance for comparing by shared seeds


@dataclass(frozen=True)
class Error:
    """Standard error of one number in its two parts."""

    items: float  # from the choice of items; 0 if per-item results are unknown
    seeds: float  # from the choice of seeds; 0 if no candidate has two
    df: float  # degrees of freedom (Satterthwaite 1946)

    @property
    def total(self) -> float:
        return math.hypot(self.items, self.seeds)


class Errors:
    """Standard errors of the scores of k candidates in one measurement, and of their differences."""

    def __init__(self, found: Sequence[Replicates]) -> None:
        self.found = tuple(found)
        self.seeds_known = any(one.spread is not None and not one.fixed for one in found)
        self.items_known = all(one.n or one.item_error is not None for one in found)
        self.known = self.seeds_known or self.items_known
        self._alone = _Seeds(found, [None] * len(found))
        self._paired = _Seeds(found, _blocks(found))
        self._items = _item_covariances(found)  # (k, k) of the means over seeds

    def of(self, i: int) -> Error:
        """Return the error of candidate i's mean score."""
        return self._error(float(self._items[i, i]), (i,), self._alone)

    def between(self, i: int, j: int) -> Error:
        """Return the error of the difference between candidates i and j on the same items."""
        a = self._items
        seeds = self._paired if self._shared(i, j) else self._alone
        return self._error(float(a[i, i] + a[j, j] - 2 * a[i, j]), (i, j), seeds)

    @property
    def item_covariance(self) -> Array:
        """Return the (k, k) covariance of the means over items, without the interaction with seeds."""
        twice = [(one.interaction or 0.0) / len(one.values) if one.n else 0.0 for one in self.found]
        covariance = self._items - np.diag(twice)
        return covariance

    def seed_variance(self, i: int) -> float:
        """Return the seed variance of candidate i's mean that is not shared; 0 if unknown."""
        return self._paired.of_mean(i) if self.seeds_known else 0.0

    def _shared(self, i: int, j: int) -> bool:
        block = self._paired.blocks[i]
        return block is not None and block == self._paired.blocks[j]

    def _error(self, items: float, which: tuple[int, ...], seen: _Seeds) -> Error:
        """Combine a variance over items with that over seeds; both still contain the interaction."""
        counted_twice = sum(
            (self.found[i].interaction or 0.0) / len(self.found[i].values)
            for i in which
            if self.found[i].n
        )
        items = max(0.0, items - counted_twice)
        if not self.seeds_known:
            return Error(math.sqrt(items), 0.0, self._items_df())
        of_each = [seen.of_mean(i) for i in which]
        seeds, seeds_df = sum(of_each), seen.df(which, of_each)
        # A variance estimated from a few seeds is more often below the true one than above. In the
        # weighting it is corrected by a quantile of its chi-squared distribution.
        weighed = seeds * seeds_df / (2 * float(special.gammaincinv(seeds_df / 2, LOW)))
        spread = items**2 / self._items_df() + weighed**2 / seeds_df
        df = (items + weighed) ** 2 / spread if spread > 0 else math.inf
        return Error(math.sqrt(items), math.sqrt(seeds), df)

    def _items_df(self) -> float:
        known = [one.n for one in self.found if one.n]
        return min(known) - 1.0 if known else math.inf


class _Seeds:
    """Seed variances of single scores, shrunk towards the common factor, with degrees of freedom.

    Candidates with the same entry in ``blocks`` share their seeds. The effect of a seed on a whole
    block is then removed.
    """

    def __init__(
        self, found: Sequence[Replicates], blocks: Sequence[tuple[int, ...] | None]
    ) -> None:
        self.found, self.blocks = found, blocks
        several = [i for i, one in enumerate(found) if one.spread is not None and not one.fixed]
        self.variances = np.full(len(found), np.nan)
        self.own = np.zeros(len(found))
        if not several:
            return
        scale = np.array([found[i].interaction or found[i].unseen for i in several])
        scaled = bool((scale > 0).all())
        if not scaled:  # per-item results are unknown: pool the variances themselves
            scale = np.ones(len(several))
        factor = _factors([found[i] for i in several], scale, [blocks[i] for i in several])
        self.own[several] = [len(found[i].values) - 1 for i in several]
        self.all = float(self.own.sum()) - sum(
            len(block) - 1 for block in {*blocks} - {None} if block
        )
        self.prior = min(PRIOR_DF, self.all)
        own = self.own[several]
        drawn = (self.prior * np.average(factor, weights=own) + own * factor) / (self.prior + own)
        drawn = np.maximum(drawn, factor)
        if scaled:  # the seed variance is at least that of the interaction
            drawn = np.maximum(drawn, 1.0)
        # A candidate with one seed gets the mean variance of the others.
        self.variances[:] = np.average(drawn * scale, weights=own)
        self.variances[several] = drawn * scale
        self.variances[[one.fixed for one in found]] = 0.0

    def of_mean(self, i: int) -> float:
        """Return the variance of candidate i's mean over its seeds."""
        return float(self.variances[i]) / len(self.found[i].values)

    def df(self, which: Sequence[int], variances: Sequence[float]) -> float:
        """Return the degrees of freedom of the prior and the candidates (Welch), at most all."""
        known = [(v, self.own[i]) for i, v in zip(which, variances, strict=True) if self.own[i]]
        spread = sum(v * v / df for v, df in known)
        welch = sum(v for v, _ in known) ** 2 / spread if spread > 0 else 0.0
        return min(self.prior + welch, self.all)


def _blocks(found: Sequence[Replicates]) -> list[tuple[int, ...] | None]:
    """Return for each candidate the seeds it shares, if enough candidates share them; else None."""
    able = [one.seeds if one.spread is not None and not one.fixed else None for one in found]
    counts = {seeds: able.count(seeds) for seeds in able if seeds is not None}
    return [
        seeds if seeds and (counts[seeds] - 1) * (len(seeds) - 1) >= PAIRED_DF else None
        for seeds in able
    ]


def _factors(found: Sequence[Replicates], scale: Array, blocks: Sequence) -> Array:
    """Return (k,) seed variances in units of ``scale``, without the effects common to a block."""
    factors = np.array([one.spread for one in found]) / scale
    for block in {*blocks} - {None}:
        which = [i for i, own in enumerate(blocks) if own == block]
        values = np.stack([found[i].values - found[i].mean for i in which])
        left = values / np.sqrt(scale[which])[:, None]
        left = left - left.mean(axis=0)
        k, seeds = left.shape
        factors[which] = np.square(left).sum(axis=1) / ((seeds - 1) * (1 - 1 / k))
    return factors


def _item_covariances(found: Sequence[Replicates]) -> Array:
    """Return (k, k) covariances of the means over items; 0 between candidates of different items."""
    k = len(found)
    covariances = np.zeros((k, k))
    for n in {one.n for one in found if one.n}:
        which = [i for i in range(k) if found[i].n == n]
        means = np.stack([found[i].mean_influence for i in which])
        covariances[np.ix_(which, which)] = means @ means.T / (n * (n - 1))
    for i, one in enumerate(found):
        if one.n is None and one.item_error is not None:
            covariances[i, i] = one.item_error**2
        covariances[i, i] += one.unseen
    return covariances
