"""Measured values as a terminal shows them."""

from __future__ import annotations

import pytest

from harness.records.measurement import shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (27.0676, "27.068"),
        (0.0, "0.000"),
        (0.0123, "0.012"),
        (0.0004, "0.0004"),
        (-0.00359, "-0.0036"),
        (3.6e-06, "3.6e-06"),
    ],
)
def test_what_is_small_is_not_shown_as_nothing(value, text):
    assert shown(value) == text
