"""Forgetting at a given quality, from fronts whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from harness.statistics.matched_quality import at_quality, least_forgetting
from harness.statistics.pareto import front
from harness.statistics.resampling import draw_counts

# On the front: (50, .1), (60, .2), (70, .6). (55, .3) and (65, .9) are beaten in both.
QUALITY = np.array([60.0, 55.0, 70.0, 50.0, 65.0])
FORGETTING = np.array([0.2, 0.3, 0.6, 0.1, 0.9])


@pytest.mark.parametrize(
    ("level", "value"),
    [(70, 0.6), (65, 0.4), (60, 0.2), (55, 0.15), (50, 0.1), (30, 0.1), (70.1, np.inf)],
)
def test_between_neighbours_of_the_front(level, value):
    assert least_forgetting(QUALITY, FORGETTING, level) == pytest.approx(value)


def test_it_is_the_interpolated_pareto_front():
    rng = np.random.default_rng(0)
    quality, forgetting = rng.random((2, 300, 9)).round(1)  # with ties
    for level in (0.2, 0.5, 0.85):
        for q, kl, found in zip(
            quality, forgetting, least_forgetting(quality, forgetting, level), strict=True
        ):
            kept = front(np.stack([q, kl], axis=1), ("maximize", "minimize"))
            on_front = np.array(sorted((q[i], kl[i]) for i in kept))
            known = np.interp(level, on_front[:, 0], on_front[:, 1])
            assert found == pytest.approx(known if level <= on_front[-1, 0] else np.inf)


def test_intervals_hold_the_truth_and_say_where_a_level_is_hardly_reached():
    """Two hundred searches with noise of items: the noisy front against the true one."""
    rng = np.random.default_rng(1)
    held, reached = {3.0: [], 0.0: []}, []
    for _ in range(200):
        quality = rng.uniform(20, 60, 12)
        forgetting = 0.02 * np.exp(quality / 15) * np.exp(np.abs(rng.normal(0, 0.5, 12)))
        answers = quality[:, None] + rng.normal(0, 10, 100) + rng.normal(0, 5, (12, 100))
        texts = forgetting[:, None] * rng.gamma(4, 1 / 4, 60) * rng.gamma(25, 1 / 25, (12, 60))
        drawn = (
            draw_counts(100, 200, rng) @ answers.T / 100,
            draw_counts(60, 200, rng) @ texts.T / 60,
        )
        for below, own in held.items():
            level = quality.max() - below
            found = at_quality(answers.mean(axis=1), texts.mean(axis=1), level, drawn)
            if found.value is None:
                assert found.reached is not None and found.reached < 0.9
                continue
            assert found.low is not None and found.high is not None
            own.append(found.low <= least_forgetting(quality, forgetting, level) <= found.high)
            reached += [(found.reached, found.high)]
    assert 0.90 <= np.mean(held[3.0]) <= 0.99
    assert np.mean(held[0.0]) >= 0.90
    assert all(
        np.isinf(high) == (share < 0.975) for share, high in reached if abs(share - 0.975) > 0.01
    )
