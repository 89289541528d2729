"""Effect of single settings on the outcome of a search: a rank test of each hyper-parameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.language import say
from harness.statistics.rank_correlation import mean_ranks
from harness.statistics.scores import Array

GROUPS = 3  # groups into which the tried values of a number are divided, from low to high
PERMUTATIONS = 2000


@dataclass(frozen=True)
class Effect:
    """Association of one setting with the rank of the trials."""

    key: str
    best: str  # the value, or the range of a third of the values, whose trials rank best
    share: float  # share of the ranks' variance that lies between the groups
    by_chance: float  # expected share of a setting without effect
    p_family: float  # permutation test, adjusted for all settings (Holm 1979)


def effects(settings: Mapping[str, Sequence[Any]], outcome: Sequence[float]) -> list[Effect]:
    """Return the effect of each setting (m values) on m outcomes, higher being better, strongest first.

    The share is H/(m − 1) of the rank test of Kruskal & Wallis 1952. Ranks are used because a single
    diverged trial would dominate a variance of scores. Values are grouped because a learning rate can
    be too low as well as too high. p is the share of permutations of the outcomes that give as large
    a share. It is exact if the configurations were drawn independently of the outcomes. Settings with
    one value are left out.
    """
    ranks = mean_ranks(np.asarray(outcome, float))
    rng = np.random.default_rng(0)
    shuffled = np.array([rng.permutation(ranks) for _ in range(PERMUTATIONS)])
    found = []
    for key, values in settings.items():
        labels, groups = _grouped(values)
        if len(groups) < 2 or np.ptp(ranks) == 0:
            continue
        share = float(_shares(labels, ranks[None])[0])
        reached = int(np.sum(_shares(labels, shuffled) >= share - 1e-12))
        best = int(np.argmax([ranks[labels == group].mean() for group in range(len(groups))]))
        chance = (len(groups) - 1) / (len(ranks) - 1)
        p = (1 + reached) / (1 + PERMUTATIONS)
        found.append(Effect(key, groups[best], share, chance, p))
    return sorted(_holm(found), key=lambda effect: effect.by_chance - effect.share)


def _shares(labels: NDArray[np.intp], ranks: Array) -> Array:
    """Return (B,) shares of the variance of (B, m) ranks that lie between the groups of (m,) labels."""
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    members = [labels == group for group in np.unique(labels)]
    between = sum(centred[:, own].sum(axis=1) ** 2 / own.sum() for own in members)
    return between / (centred**2).sum(axis=1)


def _grouped(values: Sequence[Any]) -> tuple[NDArray[np.intp], list[str]]:
    """Return the (m,) group of each value, and the groups' names. Many numbers are cut into thirds."""
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    different = sorted(set(values), key=None if numbers else str)
    if not numbers or len(different) <= GROUPS:
        return np.array([different.index(v) for v in values]), [f"{v}" for v in different]
    thirds = (mean_ranks(np.asarray(values, float)) - 1) * GROUPS // len(values)
    _, labels = np.unique(thirds, return_inverse=True)
    own = [np.asarray(values)[labels == group] for group in range(labels.max() + 1)]
    return labels, [
        say("{low:.2g} to {high:.2g}", low=group.min(), high=group.max()) for group in own
    ]


def _holm(found: Sequence[Effect]) -> list[Effect]:
    """Adjust the p-values for testing several settings (Holm 1979)."""
    adjusted, least = [], 0.0
    for place, effect in enumerate(sorted(found, key=lambda effect: effect.p_family)):
        least = max(least, min(1.0, (len(found) - place) * effect.p_family))
        adjusted.append(replace(effect, p_family=least))
    return adjusted
