"""Standard errors of scores and of their differences over items and seeds, with degrees of freedom.

The model is the crossed one: the score of seed s on n items is a mean, plus items, plus seed, plus
items × seed; all candidates answer the same items. Over new items *and* new seeds the mean of S seeds
has the variance (MS_items + MS_seeds − MS_interaction)/(n·S) (two-way random effects; Searle, Casella
& McCulloch 1992, ch. 4), so what seeds do to single items is not counted twice.

S is 2 or 3, so a candidate's own variance of seeds is hardly known. It is pooled over candidates:
not as such, for it differs between methods many times over, but as the factor φ by which it exceeds
what the interaction alone would give, which each candidate's own items tell well. A candidate's φ
is drawn to the common one with ``PRIOR_DF`` degrees of freedom (moderated variance, Smyth 2004,
Stat. Appl. Genet. Mol. Biol. 3:3), yet never below its own: a method whose seeds are seen to spread
more is taken at its word.

Candidates with the same seeds saw the same data in the same order. In their differences the effect
that a seed has on all of them is taken out, as in a randomized block design, where enough of them
share seeds.

Assumes items and seeds drawn at random, and seed effects that are near normal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.statistics.comparing.replicates import Replicates
from harness.statistics.scores import Array

PRIOR_DF = 3.0  # how alike methods are in φ; real ones give about 5, see docs/statistics.md
PAIRED_DF = (
    5  # of the seeds' variance; below it, seeds in common are not worth their degrees of freedom
)


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
        """(k, k) over items, of the means, without what the seeds do to single items."""
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
        """``items`` still holds the interaction, which the seeds' variance holds as well."""
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
        # A variance that is known from a few seeds lies below the true one more often than not, and
        # then seems to matter less than it does: it is weighed as if the estimate were its median.
        weighed = seeds / (1 - 2 / (9 * seeds_df)) ** 3
        spread = items**2 / self._items_df() + weighed**2 / seeds_df
        df = (items + weighed) ** 2 / spread if spread > 0 else math.inf
        return Error(math.sqrt(items), math.sqrt(seeds), df)

    def _items_df(self) -> float:
        known = [one.n for one in self.found if one.n]
        return min(known) - 1.0 if known else math.inf


class _Seeds:
    """Variances of one seed's score, each drawn to the common factor, and their degrees of freedom.

    ``blocks`` names those that share their seeds: what a seed does to all of a block is then left out.
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
        scale = np.array([found[i].interaction or 0.0 for i in several])
        scaled = bool((scale > 0).all())
        if not scaled:  # items are not known: the variances as such
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
        if scaled:  # seeds cannot differ by less than what they do to single items
            drawn = np.maximum(drawn, 1.0)
        self.variances[:] = np.average(
            drawn * scale, weights=own
        )  # of who has one seed: the others'
        self.variances[several] = drawn * scale
        self.variances[[one.fixed for one in found]] = 0.0

    def of_mean(self, i: int) -> float:
        """Variance of candidate i's mean over its seeds."""
        return float(self.variances[i]) / len(self.found[i].values)

    def df(self, which: Sequence[int], variances: Sequence[float]) -> float:
        """The common factor's, and the candidates' own (Welch), but no more than there are in all."""
        known = [(v, self.own[i]) for i, v in zip(which, variances, strict=True) if self.own[i]]
        spread = sum(v * v / df for v, df in known)
        welch = sum(v for v, _ in known) ** 2 / spread if spread > 0 else 0.0
        return min(self.prior + welch, self.all)


def _blocks(found: Sequence[Replicates]) -> list[tuple[int, ...] | None]:
    """The seeds that candidates have in common, where there are enough of them; else None."""
    able = [one.seeds if one.spread is not None and not one.fixed else None for one in found]
    counts = {seeds: able.count(seeds) for seeds in able if seeds is not None}
    return [
        seeds if seeds and (counts[seeds] - 1) * (len(seeds) - 1) >= PAIRED_DF else None
        for seeds in able
    ]


def _factors(found: Sequence[Replicates], scale: Array, blocks: Sequence) -> Array:
    """(k,) variances over seeds in units of ``scale``, less what is common to a block."""
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
