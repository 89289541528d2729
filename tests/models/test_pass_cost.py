"""How many padding tokens one more forward pass is worth, and what follows for batches."""

from __future__ import annotations

import numpy as np
import pytest

from harness.data.tokens.batches import FORWARD_TOKENS
from harness.models import pass_cost
from harness.training.distributed import sharding
from harness.training.distributed.team import ALONE


@pytest.mark.parametrize(
    ("weights", "tokens"), [(8e9, 167), (0.6e9, 2222), (135e6, 8192), (1e6, 8192)]
)
def test_launches_of_a_small_model_are_worth_more_tokens(weights, tokens):
    assert pass_cost.tokens_of_launches(weights) == tokens


@pytest.mark.parametrize(("tokens", "n_passes"), [(FORWARD_TOKENS, 2), (4096, 1)])
def test_passes_that_cost_more_are_fewer_and_padded_more(lend, monkeypatch, tokens, n_passes):
    lengths = np.array(4 * [400] + 4 * [40])
    with lend() as base:
        assert pass_cost.forward_tokens(base.model) == FORWARD_TOKENS  # it is on a CPU
        monkeypatch.setattr(sharding, "forward_tokens", lambda model: tokens)
        found = sharding.UnshardedModel(base.model, ALONE).passes(range(8), lengths, 8)
    assert found.n_real == len(found.groups) == n_passes
