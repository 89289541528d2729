"""Seeds of a race and its early end, on methods of known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from bench.cases import measured
from bench.racing import fixed, race, world
from harness.allowance.seed_allocation import seeds_for_choice
from harness.allowance.seed_race import probably_right
from harness.statistics.comparing.comparisons import Comparisons
from harness.statistics.comparing.replicates import Replicates


def test_seeds_go_to_those_that_may_be_best():
    rng = np.random.default_rng(0)
    case = world(4, 1.0, rng, np.array([10.0, 9.5, 0.0, -20.0]))
    following = seeds_for_choice(measured(case, [2] * 4), dict.fromkeys("0123", 2), 8)
    assert following.keys() == {"0", "1"} and sum(following.values()) == 4 + 8
    assert min(following.values()) >= 4


def test_a_race_ends_early_with_a_right_choice():
    rng, costs, wrong, wrong_at_once = np.random.default_rng(1), [], [], []
    for _ in range(20):
        case = world(4, 2.0, rng, rng.normal(0, 4, 4))
        one, other = race(case, 40), fixed(case, 2)
        costs.append(one.cost)
        for found, choice in ((wrong, one.chosen), (wrong_at_once, other.chosen)):
            found.append(case.truth[choice] < case.truth.max() - case.margin)
    assert np.mean(costs) < 24 and sum(wrong) <= 1 < sum(wrong_at_once)


@pytest.mark.parametrize("maximize", [True, False])
def test_the_risk_of_a_choice_is_one_sided_and_of_the_margin(maximize):
    """With many seeds, and no items, it is Welch's test; its mirror image where less is better."""
    rng, sign = np.random.default_rng(0), 1 if maximize else -1
    a, b = rng.normal(0, 1, 300), rng.normal(0.1, 1, 300)
    found = [Replicates(sign * a, tuple(range(300))), Replicates(sign * b, tuple(range(300, 600)))]
    both = Comparisons(found, maximize)
    not_worse = stats.ttest_ind(a + 0.15, b, alternative="greater").pvalue
    ahead, level = both.chances_ahead(0.15), both.chances_ahead(0.0)
    assert ahead[0, 1] == pytest.approx(not_worse, rel=0.1) and ahead[0, 0] == 0
    assert ahead[0, 1] < level[0, 1] and level[1, 0] < 0.5 < level[0, 1]


def test_a_larger_budget_asks_for_a_smaller_risk():
    """The risk is held to a share of that of equal seeds, and to what can be reached at all."""
    rng, ends = np.random.default_rng(2), []
    for _ in range(30):
        now = measured(world(4, 1.0, rng, rng.normal(0, 2, 4), seeds=4))
        ends.append([probably_right(now, each) is not None for each in (1, 4, 10, math.inf)])
    small, same, large, endless = np.sum(ends, axis=0)
    assert 30 > small > same > large >= endless > 0
    assert all(sorted(each, reverse=True) == each for each in ends)
