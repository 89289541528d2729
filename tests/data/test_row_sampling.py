"""Samples: random, nested, and the same in every process."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from harness.data.rows.sampling import sample, sampled_places, shuffled


@pytest.mark.parametrize(("n", "kept"), [(None, 7), (9, 7), (7, 7), (3, 3), (1, 1)])
def test_size_and_order(n, kept):
    items = list("abcdefg")
    some = sample(items, n, 0)
    assert len(some) == kept
    assert some == sorted(set(some))
    assert sorted(shuffled(items, 1)) == items != shuffled(items, 1)


def test_smaller_samples_are_part_of_larger_ones():
    sizes = [set(sampled_places(500, n, 3)) for n in (1, 10, 100, 499)]
    assert all(less < more for less, more in pairwise(sizes))


def test_every_place_is_as_likely():
    """Over 400 seeds each of 20 places is drawn 100 times, ± 4 standard errors of a binomial."""
    drawn = np.bincount([p for seed in range(400) for p in sampled_places(20, 5, seed)])
    assert abs(drawn - 100).max() < 4 * (400 * 0.25 * 0.75) ** 0.5


def test_another_process_draws_the_same():
    code = "from harness.data.rows.sampling import *; print(sampled_places(1000, 5, 0))"
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == str(sampled_places(1000, 5, 0))
