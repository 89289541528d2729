"""Allocation of the next confirmation seeds to the finalists of a race."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from harness.reporting.evidence.candidates import CandidateSet
from harness.reporting.evidence.ranking import by_quality
from harness.reporting.verdict.contest import contest
from harness.statistics.comparing.comparisons import Comparisons
from harness.statistics.comparing.margins import margin_of
from harness.statistics.scores import Array


def seeds_for_choice(
    candidates: CandidateSet, seeds: Mapping[str, int], runs: int
) -> dict[str, int]:
    """Return configuration → number of seeds after ``runs`` more that help most to choose well.

    Only those that change. Optimal computing budget allocation (Chen, Lin, Yücesan & Chick 2000,
    Discrete Event Dyn. Syst. 10:251): a finalist at distance g from the best, with seed variance v,
    gets a share of v/(g + margin)². The best gets √(v·Σ share²/v) over the others. The margin is
    added because only a finalist that is better by more than it would make the choice wrong.
    """
    able = by_quality([c for c in candidates.members if c.feasible], candidates.maximize)
    found = contest(able, candidates)
    margin = margin_of(candidates.quality, float(found.means[0]), candidates.margin)
    now = np.array([seeds[c.configuration] for c in able])
    variances = np.maximum(seed_variances(found), 1e-12)
    shares = variances / np.maximum(np.abs(found.means[0] - found.means) + margin, 1e-9) ** 2
    shares[0] = math.sqrt(variances[0] * (shares[1:] ** 2 / variances[1:]).sum()) or 1.0
    shares /= shares.sum()
    following = now.copy()
    for _ in range(runs):
        following[np.argmax(shares * (following.sum() + 1) - following)] += 1
    return {
        c.configuration: int(n)
        for c, n, before in zip(able, following, now, strict=True)
        if n > before
    }


def seed_variances(found: Comparisons) -> Array:
    """Return (k,) variances over seeds of a single run of each candidate."""
    of_means = [found.errors.seed_variance(i) for i in range(len(found.found))]
    return np.array(of_means) * [len(one.values) for one in found.found]


def seeds_for_pair(
    seeds: Mapping[str, int], pair: Sequence[str], workers: int = 1
) -> dict[str, int]:
    """Return configuration → number of seeds after the next round, for those of ``pair`` that change.

    For the pair whose comparison decides (LUCB, Kalyanakrishnan, Tewari, Auer & Stone 2012, ICML).
    The one with fewer seeds catches up in steps of half its own number, so that both share their
    seeds. With equal numbers both get one more, or enough to occupy all ``workers``.
    """
    assert pair
    fewest, most = (f(seeds[name] for name in pair) for f in (min, max))
    if fewest < most:
        goal = min(most, fewest + max(math.ceil(fewest / 2), workers))
    else:
        goal = most + math.ceil(workers / len(pair))
    return {name: goal for name in pair if seeds[name] < goal}
