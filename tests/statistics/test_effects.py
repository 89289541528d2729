"""Effects of single settings on a search: against scipy, and their error rate where there are none."""

import numpy as np
import pytest
from scipy.stats import kruskal

from harness.statistics.effects import effects


def drawn(rng, trials: int) -> dict[str, list]:
    """Settings of a random search."""
    return {
        "rate": list(10 ** rng.uniform(-4, -2, trials)),
        "r": list(rng.choice([2, 4, 8, 16, 32], trials)),
        "schedule": list(rng.choice(["constant", "cosine", "linear"], trials)),
        "clip": list(rng.choice([True, False], trials)),
    }


def test_the_share_is_that_of_kruskal_and_wallis():
    rng = np.random.default_rng(1)
    settings = drawn(rng, 24)
    outcome = np.round(rng.normal(size=24), 1)  # some of them equal
    found = {effect.key: effect for effect in effects(settings, outcome)}
    for key in ("schedule", "clip"):
        groups = [outcome[np.array(settings[key]) == value] for value in set(settings[key])]
        assert found[key].share == pytest.approx(kruskal(*groups).statistic / 23)
        assert found[key].by_chance == pytest.approx((len(groups) - 1) / 23)


def test_a_setting_with_an_optimum_is_found_and_its_range_named():
    """A rate that is best in its middle has no correlation with the outcome."""
    rng = np.random.default_rng(2)
    settings = drawn(rng, 30)
    outcome = [-abs(np.log10(rate) + 3) + rng.normal(0, 0.1) for rate in settings["rate"]]
    outcome[int(np.argmax(settings["rate"]))] = -np.inf  # diverged
    first, *others = effects(settings, outcome)
    assert first.key == "rate"
    assert first.p_family < 0.01
    low, high = map(float, first.best.split(" to "))
    assert 1e-4 < low < 1e-3 < high < 1e-2
    assert all(effect.p_family > 0.05 for effect in others)


def test_settings_without_effect_are_seldom_called_different():
    """Five of 100 random searches without an effect name a setting, as the level promises."""
    wrong = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        found = effects(drawn(rng, 16), rng.normal(size=16))
        wrong += any(effect.p_family <= 0.05 for effect in found)
    assert wrong <= 11  # of 5 expected: 1 % of such tests would see more


def test_nothing_is_said_where_nothing_varies():
    assert effects({"r": [8] * 12}, range(12)) == []
    assert effects({"r": [4, 8] * 6}, [1.0] * 12) == []
