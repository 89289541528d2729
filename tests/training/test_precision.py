"""What is trained in 16 bits is trained in float32, and is measured and saved as the base is stored."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from running import adapted, fit, job, logits_of, take, tensors

from harness import methods
from harness.errors import InputError
from harness.models.precision import computes_in, computing, save_whole
from harness.training.autocast import check_precision
from harness.training.loop import Interrupted
from harness.training.optimizers import build_optimizer
from harness.training.rounding import rounded

IDS = torch.arange(3, 43).reshape(2, 20)
BF16 = ("model.dtype=bfloat16", "training.precision=bf16")


@pytest.fixture(scope="module")
def full(trial_config):
    return trial_config("method=full", *BF16, "training.learning_rate=1e-5")


def moved(before, after):
    """Share of entries."""
    n = sum(t.numel() for t in before.values())
    return sum(int((before[name] != after[name]).sum()) for name in before) / n


def trained(model):
    return {n: p.detach().float().clone() for n, p in model.named_parameters() if p.requires_grad}


def test_at_rest_in_32_bits_and_the_base_to_the_last_bit_in_passes(pool, full, encoded):
    with pool.lend(full.model, None) as base:
        before, logits = tensors(base.model), logits_of(base.model, IDS)
        model = adapted(base, full, encoded).model
        from harness.models.precision import rest_in_float32

        rest_in_float32(model)
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        with computing(model):
            assert torch.equal(logits_of(model, IDS), logits)
            assert all(torch.equal(before[name], t) for name, t in tensors(model).items())


def test_gradients_of_several_passes_are_summed_in_32_bits():
    """256 + 1 is 256 in bfloat16, however often."""
    model = torch.nn.Linear(1, 1, bias=False).bfloat16()
    from harness.models.precision import rest_in_float32

    rest_in_float32(model)
    model.weight.grad = torch.full((1, 1), 256.0)
    with computing(model):
        for _ in range(3):
            model(torch.ones(1, 1, dtype=torch.bfloat16)).sum().backward()
    assert model.weight.grad.item() == 259.0
