"""Learning one task after another, in numbers: matrices worked by hand, and what they cannot do."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.statistics import sequences as s

# Everything is forgotten a little, and later tasks begin a little above chance.
FORGETS = [[0.9, 0.2, 0.1], [0.7, 0.85, 0.15], [0.6, 0.8, 0.9]]
# Task 1 got better by task 2 and lost a part of that again: BWT says gain, F says forgetting.
BOTH = [[0.5, 0.2, 0.1], [0.8, 0.6, 0.1], [0.6, 0.65, 0.7]]


def test_forgetting_and_transfer():
    assert s.average_accuracy(FORGETS) == pytest.approx(0.766667, abs=1e-6)
    assert s.backward_transfer(FORGETS) == pytest.approx(-0.175)
    assert s.forgetting_measure(FORGETS) == pytest.approx(0.175)
    assert s.forward_transfer(FORGETS, [0.1, 0.1, 0.1]) == pytest.approx(0.075)


def test_backward_transfer_and_forgetting_are_not_each_others_negative():
    assert s.backward_transfer(BOTH) == pytest.approx(0.075)
    assert s.forgetting_measure(BOTH) == pytest.approx(0.075)


def test_a_share_of_what_there_was():
    assert s.general_forgetting(40, [38, 35, 30]) == pytest.approx(0.141667, abs=1e-6)


def test_of_one_task_there_is_nothing_to_say_but_its_score():
    assert s.average_accuracy([[0.4]]) == 0.4
    for value in (
        s.backward_transfer([[0.4]]),
        s.forward_transfer([[0.4]], [0.1]),
        s.forgetting_measure([[0.4]]),
    ):
        assert math.isnan(value)


def test_a_model_that_never_changes_forgets_and_gains_nothing():
    start = np.array([0.3, 0.5, 0.2, 0.9])
    still = np.tile(start, (4, 1))
    assert s.backward_transfer(still) == 0
    assert s.forgetting_measure(still) == 0
    assert s.forward_transfer(still, start) == 0
    assert s.general_forgetting(0.5, [0.5, 0.5]) == 0


def test_forgetting_is_never_less_than_what_backward_transfer_lost():
    """max_l R[l, j] >= R[j, j], so F >= -BWT, whatever the scores."""
    rng = np.random.default_rng(0)
    for scores in rng.random((200, 4, 4)):
        assert s.forgetting_measure(scores) >= -s.backward_transfer(scores) - 1e-12
