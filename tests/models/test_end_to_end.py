"""Texts end to end in one row are computed as padded rows are, or not at all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from running import adapted
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS as MASKS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS as KERNELS

from harness.models.end_to_end import fits_one_row, one_row, saves
from harness.models.logits import logits_at

SMALL = dict(vocab_size=300, hidden_size=32, num_hidden_layers=2, num_attention_heads=4)
KINDS = {
    "llama": SMALL | dict(intermediate_size=48, num_key_value_heads=2),
    "qwen2": SMALL | dict(intermediate_size=48, num_key_value_heads=2),
    "gpt_neox": SMALL | dict(intermediate_size=48),
    "gpt2": dict(vocab_size=300, n_embd=32, n_layer=2, n_head=4, n_positions=64),
    "mistral": SMALL | dict(intermediate_size=48, num_key_value_heads=2, sliding_window=16),
    "gpt_neo": dict(
        vocab_size=300, hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["local"], 2]]
    ),
    "bloom": dict(vocab_size=300, hidden_size=32, n_layer=2, n_head=4),
    "mamba": dict(vocab_size=300, hidden_size=32, num_hidden_layers=2, state_size=4),
}
LENGTHS = np.array([[40], [21], [33], [4]])
SEGMENTS = torch.from_numpy((np.arange(40) < LENGTHS).astype(np.int64))


def small(kind, **options):
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **KINDS[kind], bos_token_id=0, eos_token_id=1)
    for name in vars(config):
        if "drop" in name:
            setattr(config, name, 0.0)
    return AutoModelForCausalLM.from_config(config, **options).train()


def loss_and_gradients(model, segments, end_to_end=None):
    """Return what training with padded or unpadded texts would use, and the shapes of its input."""
    ids = torch.randint(2, 300, segments.shape, generator=torch.Generator().manual_seed(1))
    where = (segments > 0) & (torch.arange(segments.shape[1]) % 3 > 0)
    shapes = []
    embeddings = model.get_input_embeddings()
    handle = embeddings.register_forward_hook(lambda m, i, o: shapes.append(tuple(o.shape[:2])))
    logits = logits_at(model, ids, segments, where, end_to_end=end_to_end)
    handle.remove()
    shapes = shapes[-1:]  # of the pass, not of a test before it
    loss = torch.nn.functional.cross_entropy(logits, ids[where])
    model.zero_grad()
    loss.backward()
    return float(loss.detach()), {n: p.grad for n, p in model.named_parameters()}, shapes


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt_neox", "gpt2"])
def test_losses_and_gradients_are_those_of_padded_rows(kind, dtype):
    model = small(kind, attn_implementation="sdpa").to(dtype)
    exact = 1e-6 if dtype == torch.float32 else 1e-12
    expected, gradients, shapes = loss_and_gradients(model, SEGMENTS, False)
    assert shapes == [(4, 40)]
    loss, found, shapes = loss_and_gradients(model, SEGMENTS)
    assert shapes == [(1, LENGTHS.sum())]
    assert loss == pytest.approx(expected, rel=exact)
    for name, gradient in gradients.items():
        assert float((found[name] - gradient).abs().max()) <= exact, name
    assert not KERNELS._local_mapping and not MASKS._local_mapping  # as they were


def test_packed_texts_need_no_mask_of_all_pairs():
    segments = torch.zeros(2, 40, dtype=torch.int64)
    for row, (first, second) in enumerate([(13, 40), (20, 31)]):
        segments[row, :first], segments[row, first:second] = 1, 2
    model = small("llama").double()
    expected, gradients, _ = loss_and_gradients(model, segments, False)
    loss, found, shapes = loss_and_gradients(model, segments)
    assert shapes == [(1, 71)]
    assert loss == pytest.approx(expected, rel=1e-12)
    assert all(torch.allclose(found[n], g, rtol=0, atol=1e-12) for n, g in gradients.items())


def mixing(model):
    """Add the token before to each hidden state, which attention alone would not show."""
    model.model.layers[0].mlp.register_forward_hook(lambda m, i, o: o + o.roll(1, dims=1))
    return model


@pytest.mark.parametrize(
    "model",
    [
        lambda: small("mistral"),
        lambda: small("gpt_neo"),
        lambda: small("bloom"),
        lambda: small("mamba"),
        lambda: small("llama", attn_implementation="eager"),
        lambda: mixing(small("llama")),
    ],
    ids=["window", "window in a mask", "alibi", "state space", "eager", "mixed"],
)
def test_others_stay_padded(model):
    model = model()
    assert not fits_one_row(model)
    *_, shapes = loss_and_gradients(model, SEGMENTS)
    assert shapes == [(4, 40)]


def test_activations_that_are_computed_again_stay_padded():
    model = small("llama")
    assert fits_one_row(model)
    model.gradient_checkpointing_enable()
    assert not fits_one_row(model)


def test_virtual_tokens_stay_padded(lend, trial_config, encoded):
    with lend() as base:
        assert fits_one_row(base.model)
        assert not fits_one_row(adapted(base, trial_config("method=prompt_tuning"), encoded).model)


def test_a_row_has_texts_in_order():
    segments = np.array([[1, 1, 2, 0], [1, 0, 0, 0], [1, 1, 1, 1]])
    ids = torch.arange(12).view(3, 4)
    row = one_row(ids, segments, segments == 1)
    assert row.lengths == [2, 1, 1, 4]
    assert row.input_ids.tolist() == [[0, 1, 2, 4, 8, 9, 10, 11]]
    assert row.position_ids.tolist() == [[0, 1, 0, 0, 0, 1, 2, 3]]
    assert row.where.tolist() == [True, True, False] + [True] * 5


def test_little_padding_is_left():
    assert not saves(np.ones((8, 20)))
    assert not saves(np.arange(20) < np.full((8, 1), 15))
    assert saves(np.arange(20) < np.full((8, 1), 14))
