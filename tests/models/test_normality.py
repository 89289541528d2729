"""Normality of a base's weights, on weights of known distribution."""

from __future__ import annotations

import pytest
import torch

from harness.models.weights.weight_normality import QUANTIZATIONS, ROWS, base_weights, layer_weights


def drawn(distribution, rows=300, length=256):
    torch.manual_seed(0)
    return 0.02 * distribution.sample((rows, length))


@pytest.fixture(scope="module")
def normal():
    return layer_weights("normal", drawn(torch.distributions.Normal(0.0, 1.0)))


def test_normal_weights_are_rejected_as_often_as_the_level_says(normal):
    assert 0.025 < normal.rejected < 0.08  # two standard errors of 300 rows are 0.025
    assert abs(normal.skewness) < 0.03
    assert abs(normal.excess_kurtosis) < 0.06


def test_heavy_tails_and_skew_are_seen():
    """The excess kurtosis of a Laplace distribution is 3, the skewness of an exponential one 2."""
    heavy = layer_weights("laplace", drawn(torch.distributions.Laplace(0.0, 1.0)))
    assert heavy.rejected > 0.95
    assert 2 < heavy.excess_kurtosis < 3.2
    skewed = layer_weights("exponential", drawn(torch.distributions.Exponential(1.0)))
    assert skewed.rejected == 1
    assert 1.6 < skewed.skewness < 2.1
    equal = layer_weights("equal", torch.ones(4, 64))
    assert (equal.rejected, equal.skewness) == (1, 0)


def test_nf4_is_for_normal_weights(normal):
    """A nearest-code rounding by hand gives the same error; the spacing of fp4 suits them less."""
    import bitsandbytes.functional as functional

    rows = drawn(torch.distributions.Normal(0.0, 1.0))
    blocks = rows.reshape(-1, 64)
    for kind in ("nf4", "fp4"):
        code = functional.get_4bit_type(kind, device="cpu")
        scale = blocks.abs().amax(1, keepdim=True)
        nearest = (blocks / scale).unsqueeze(-1).sub(code).abs().argmin(-1)
        by_hand = float((code[nearest] * scale - blocks).norm() / blocks.norm())
        assert normal.error[kind] == pytest.approx(by_hand, rel=1e-3)
    steps = rows.abs().amax(1, keepdim=True) / 127
    by_hand = float(((rows / steps).round() * steps - rows).norm() / rows.norm())
    assert normal.error["int8"] == pytest.approx(by_hand, rel=1e-2)
    assert normal.error["int8"] < 0.01 < normal.error["nf4"] < 0.1 < normal.error["fp4"]


def test_every_linear_layer_of_a_base_and_the_same_each_time(lend):
    with lend() as base:
        first, second = base_weights(base.model), base_weights(base.model)
    assert first == second
    assert len(first) == 28
    assert {layer["rows"] for layer in first} == {ROWS}
    assert set(first[0]["error"]) == set(QUANTIZATIONS)
    assert not any("lm_head" in layer["name"] for layer in first)
