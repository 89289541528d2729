"""NF4 against its definition, and a quantized base that stays what it is."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from running import fit, logits_of

from harness import methods
from harness.evaluation.likelihood import sequence_nll
from harness.models.loading.base_fingerprint import base_fingerprint
from harness.models.pool import checksums
from harness.models.quantization import Quantization
from harness.models.weights.stored_bytes import stored_bytes

NF4 = Quantization("nf4", True)
INT8 = Quantization("int8", False)
IDS = torch.arange(3, 43).reshape(2, 20)


def four_bit(model):
    import bitsandbytes

    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, bitsandbytes.nn.Linear4bit)
    }


def normal_float_4():
    """Quantiles of N(0, 1): 7 below zero, zero, 8 above, over the largest."""
    normal = torch.distributions.Normal(0.0, 1.0)
    offset = 0.9677083
    above = normal.icdf(torch.linspace(offset, 0.5, 9, dtype=torch.float64)[:-1])
    below = -normal.icdf(torch.linspace(offset, 0.5, 8, dtype=torch.float64)[:-1])
    values = torch.cat([above, below, torch.zeros(1, dtype=torch.float64)]).sort().values
    return values / values.max()


def test_code_book_is_the_definitions():
    import bitsandbytes.functional as functional

    _, state = functional.quantize_4bit(torch.randn(64, 64), quant_type="nf4")
    code = state.code.double().sort().values
    assert float((code - normal_float_4()).abs().max()) <= 2e-7
    assert (int((code < 0).sum()), int((code > 0).sum()), int((code == 0).sum())) == (7, 8, 1)
    middles = (code[1:] + code[:-1]) / 2
    assert float(middles[0]) == pytest.approx(-0.84809640, abs=1e-6)
    assert float(middles[-1]) == pytest.approx(0.86147842, abs=1e-6)


def test_round_trip():
    import bitsandbytes.functional as functional

    given = torch.zeros(64)
    given[:6] = torch.tensor([0.1, -0.5, 0.3, 0.9, -0.9, 0.02])
    packed, state = functional.quantize_4bit(given, quant_type="nf4", blocksize=64)
    back = functional.dequantize_4bit(packed, state).flatten()[:6]
    expected = [0.071622, -0.472566, 0.304124, 0.9, -0.9, 0.0]
    assert back.tolist() == pytest.approx(expected, abs=1e-6)
    bytes_ = packed.flatten()[:3].tolist()
    assert [half for byte in bytes_ for half in (byte >> 4, byte & 15)] == [8, 2, 11, 15, 0, 7]


@pytest.mark.parametrize(("double", "bits"), [(True, 4.126953125), (False, 4.5)])
def test_bits_per_parameter_of_the_built_in_model(pool, model_config, double, bits):
    """Bits a weight, exactly: blocks of 64 weights and of 256 scales divide every layer."""
    with pool.lend(model_config, Quantization("nf4", double)) as base:
        layers = four_bit(base.model)
        assert len(layers) == 28
        stored = weights = 0
        for module in layers.values():
            state = module.weight.quant_state
            tensors = [module.weight, state.absmax]
            if double:
                assert state.state2.blocksize == 256
                tensors.append(state.state2.absmax)
            stored += 8 * sum(t.numel() * t.element_size() for t in tensors)
            weights += state.shape.numel()
            assert state.blocksize == 64
        assert base.provenance["bits_per_linear_weight"] == bits
        named = base.model.named_parameters()
        every = sum(p.numel() for name, p in named if ".layers." not in name or "norm" in name)
        assert base.provenance["linear_share"] == weights / (weights + every)
        whole = (stored + 32 * every) / (weights + every)  # the rest is float32
        assert base.provenance["bits_per_parameter"] == pytest.approx(whole, rel=1e-12)
    assert weights == 4 * (4 * 128 * 128 + 3 * 128 * 384)
    assert stored / weights == bits


def test_bits_per_parameter_of_the_others(pool, model_config):
    """int8 has one float32 scale an output; at full precision there is nothing beside the weights."""
    outputs, weights = 4 * (4 * 128 + 2 * 384 + 128), 4 * (4 * 128 * 128 + 3 * 128 * 384)
    with pool.lend(model_config, INT8) as base:
        expected = 8 + 32 * outputs / weights
        assert base.provenance["bits_per_linear_weight"] == pytest.approx(expected, abs=1e-12)
        before = checksums(base.model)
        logits_of(base.model, IDS)  # moves the scales from the weights to the layers
        assert checksums(base.model) == before
        assert base.provenance["base_bytes"] == stored_bytes(base.model)
    with pool.lend(model_config, None) as base:
        assert base.provenance["bits_per_parameter"] == 32
        assert base.provenance["bits_per_linear_weight"] == 32
        assert base.provenance["base_bytes"] == stored_bytes(base.model)
        assert sum(4 * p.numel() for p in base.model.parameters()) == pytest.approx(
            stored_bytes(base.model),
            rel=1e-3,  # and the frequencies of the positions
        )


def test_int8_is_the_nearest_of_127_steps_a_row(pool, lend, model_config):
    """Absmax rounding of three numbers, and the built-in model's own weights by hand."""
    import bitsandbytes.functional as functional

    integers, scales, _ = functional.int8_vectorwise_quant(torch.tensor([[0.5, -1.27, 0.3]]))
    assert integers.tolist() == [[50, -127, 30]]
    assert float(scales) == pytest.approx(1.27)
    with lend() as base:
        full = base.model.model.layers[1].mlp.down_proj.weight.detach().clone()
    with pool.lend(model_config, INT8) as base:
        got = base.model.model.layers[1].mlp.down_proj.weight.detach().clone()
    by_hand = (full * 127 / full.abs().amax(1, keepdim=True)).round()
    # bitsandbytes sees float16 weights: what lies between two steps may fall to either side.
    assert float((got - by_hand).abs().max()) <= 1
    assert float((got != by_hand).float().mean()) < 0.02


def test_weights_are_the_nearest_code_times_the_blocks_maximum(lend, pool, model_config):
    """Independent of bitsandbytes: the full-precision weight, quantized by hand."""
    import bitsandbytes.functional as functional

    with lend() as base:
        full = base.model.model.layers[0].mlp.up_proj.weight.detach().clone()
    with pool.lend(model_config, Quantization("nf4", False)) as base:
        weight = base.model.model.layers[0].mlp.up_proj.weight
        got = functional.dequantize_4bit(weight.data, weight.quant_state)
    blocks = full.reshape(-1, 64)
    scale = blocks.abs().amax(1, keepdim=True)
    code = normal_float_4().float()
    nearest = (blocks / scale).unsqueeze(-1).sub(code).abs().argmin(-1)
    by_hand = (code[nearest] * scale).reshape(full.shape)
    assert float((got - by_hand).abs().max()) < 1e-6


def test_evaluation_does_not_repack(pool, model_config):
    """bitsandbytes repacks for AVX512-BF16 at the first forward pass without gradients."""
    with pool.lend(model_config, NF4) as base:
        before = checksums(base.model)
        first = logits_of(base.model, IDS)
        second = logits_of(base.model, IDS)
        assert checksums(base.model) == before
        assert torch.equal(first, second)
        for module in four_bit(base.model).values():
            assert not getattr(module.weight.quant_state, "packing_format_for_cpu", False)


def test_checksums_see_what_dequantizes(pool, model_config):
    with pool.lend(model_config, NF4) as base:
        state = base.model.model.layers[2].self_attn.k_proj.weight.quant_state
        before = checksums(base.model)
        state.absmax[3] += 1
        assert checksums(base.model) != before
        state.absmax[3] -= 1
        assert checksums(base.model) == before


def test_base_is_bit_identical_after_training_and_lent_again(
    pool, model_config, trial_config, encoded, tmp_path
):
    config = trial_config(
        "method=qlora", "training.learning_rate=5e-3", "training.weight_decay=0.1"
    )
    with pool.lend(model_config, NF4) as base:
        held, before = base, checksums(base.model)
        untouched = logits_of(base.model, IDS)
        done = fit(base, config, encoded, tmp_path)
        assert done.losses[-1] < done.losses[0]
        after = checksums(base.model)
        kept = {name.replace(".base_layer", ""): bits for name, bits in after.items()}
        assert {name: kept.get(name) for name in before} == before
    with pool.lend(model_config, NF4) as base:
        assert base is held  # given back, not loaded again
        assert checksums(base.model) == before
        assert torch.equal(logits_of(base.model, IDS), untouched)


KINDS = [("nf4", True), ("nf4", False), ("fp4", False), ("int8", False)]


@pytest.mark.parametrize(("kind", "double"), KINDS)
def test_every_kind_trains_and_is_measured(
    pool, model_config, trial_config, encoded, tmp_path, kind, double
):
    """Two steps move every B, the base stays as it was, and the held-out loss is a number."""
    config = trial_config(
        "method=qlora",
        f"method.quantization={kind}",
        f"method.double_quantization={double}",
        "training.learning_rate=1e-3",
    )
    quantization = methods.build(config.method).base_quantization
    assert quantization == Quantization(kind, double)
    with pool.lend(model_config, quantization) as base:
        before = checksums(base.model)
        done = fit(base, config, encoded, tmp_path, steps=2)
        moved = [
            float(p.detach().abs().max()) for n, p in done.model.named_parameters() if "lora_B" in n
        ]
        nll, _ = sequence_nll(done.model, encoded, 16, "cpu")
        after = {n.replace(".base_layer", ""): bits for n, bits in checksums(done.model).items()}
    assert len(moved) == 28
    assert min(moved) > 0
    assert np.isfinite(nll).all()
    inside = {n.removeprefix("base_model.model."): bits for n, bits in after.items()}
    assert {name: inside.get(name) for name in before} == before


def test_int8_has_nothing_to_quantize_twice(trial_config):
    """One base, loaded once, whatever the switch says."""
    config = trial_config("method=qlora", "method.quantization=int8")
    assert methods.build(config.method).base_quantization == INT8


@pytest.mark.parametrize("dtype", ["auto", "float32", "bfloat16", "float16"])
def test_compute_dtype_of_four_bits(pool, model_config, dtype):
    config = replace(model_config, compute_dtype=dtype)
    wanted = "float32" if dtype == "auto" else dtype
    with pool.lend(config, NF4) as base:
        assert {module.compute_dtype for module in four_bit(base.model).values()} == {
            getattr(torch, wanted)
        }
        assert base.provenance["compute_dtype"] == wanted
        assert torch.isfinite(logits_of(base.model, IDS)).all()
    same = dtype in ("auto", "float32")
    assert (base_fingerprint(config, NF4) == base_fingerprint(model_config, NF4)) == same
    assert base_fingerprint(config, None) == base_fingerprint(model_config, None)


def test_a_base_is_gone_before_the_next_is_loaded(pool, model_config):
    """Two may not fit: QLoRA's peak must not hold the full-precision base that it is compared with."""
    gc.disable()
    try:
        with pool.lend(model_config, None) as base:
            full = weakref.ref(base.model)
        del base
        with pool.lend(model_config, NF4):
            assert full() is None
    finally:
        gc.enable()


def test_gradients_reach_the_adapter_through_the_quantized_weights(
    pool, model_config, trial_config, encoded, tmp_path
):
    """Every B moves in the first step, the lowest layer's too; with double quantization or not."""
    config = trial_config("method=qlora", "training.learning_rate=1e-3")
    with pool.lend(model_config, Quantization("nf4", False)) as base:
        model = fit(base, config, encoded, tmp_path, steps=1).model
        moved = [
            float(p.detach().abs().max()) for n, p in model.named_parameters() if "lora_B" in n
        ]
    assert len(moved) == 28
    assert min(moved) > 0
