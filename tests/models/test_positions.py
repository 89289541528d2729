"""Longest text of a model, by the kind of its position embeddings."""

from __future__ import annotations

import pytest
import torch
from tiny import built

from harness.errors import InputError
from harness.models.checks.positions import Positions, positions


@pytest.mark.parametrize("architecture", ["GPT-2", "OPT", "GPT-J", "GPT-Neo", "MPT"])
def test_a_table_ends_where_it_is_said_to(architecture):
    """At 32 positions a text of 32 tokens runs and one of 33 does not."""
    field = {"GPT-2": "n_positions", "GPT-J": "n_positions", "MPT": "max_seq_len"}
    model = built(architecture, **{field.get(architecture, "max_position_embeddings"): 32})
    assert positions(model).rows == 32
    ids = torch.ones(1, 33, dtype=torch.long)
    with torch.no_grad():
        model(input_ids=ids[:, :32])
        with pytest.raises((IndexError, RuntimeError)):
            model(input_ids=ids)


@pytest.mark.parametrize("architecture", ["Llama", "Mistral", "GPT-NeoX", "BLOOM", "Mamba"])
def test_rotary_positions_and_distances_have_no_end(architecture):
    assert positions(built(architecture)).rows is None


def test_what_is_said():
    learned, rotary = Positions(64, 64), Positions(None, 64)
    learned.check(64)
    with pytest.raises(
        InputError, match=r"has 65 tokens .* 64 learned positions.*Lower data\.max_length"
    ):
        learned.check(65)
    rotary.check(1000)
    assert rotary.caution(64) is None
    assert "was made for 64" in str(rotary.caution(65))
