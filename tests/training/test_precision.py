"""Precision: 16-bit weights are updated in float32; the model computes in the base's dtype."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from running import adapted, fit, job, logits_of, take, tensors
from safetensors.torch import load_file

from harness import methods
from harness.errors import InputError
from harness.models.weights.master_weights import (
    BLOCK,
    GOLDEN,
    as_computed,
    computing,
    convert_to_master_weights,
)
from harness.training.loop import Interrupted
from harness.training.precision.autocast import check_precision
from harness.training.precision.rounding import StochasticRounding, rounded
from harness.trials.run import run_trial

IDS = torch.arange(3, 43).reshape(2, 20)
BF16 = ("model.dtype=bfloat16", "training.precision=bf16", "training.learning_rate=1e-5")


@pytest.fixture(scope="module")
def full(trial_config):
    return trial_config("method=full", *BF16)


def trained(model):
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


def moved(before, model):
    """Share of the entries that are trained."""
    now = dict(model.named_parameters())
    n = sum(int((now[name] != tensor.to(now[name].dtype)).sum()) for name, tensor in before.items())
    return n / sum(tensor.numel() for tensor in before.values())


def test_it_rests_in_32_bits_and_computes_as_the_base_to_the_last_bit(pool, full, encoded):
    with pool.lend(full.model, None) as base:
        before, logits = tensors(base.model), logits_of(base.model, IDS)
        model = adapted(base, full, encoded).model
        convert_to_master_weights(model)
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        with computing(model):
            assert torch.equal(logits_of(model, IDS), logits)
            assert all(torch.equal(before[name], t) for name, t in tensors(model).items())
        assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_gradients_of_several_passes_are_summed_in_32_bits():
    """256 + 1 is 256 in bfloat16, however often."""
    model = torch.nn.Linear(1, 1, bias=False).bfloat16()
    convert_to_master_weights(model)
    model.weight.grad = torch.full((1, 1), 256.0)
    with computing(model):
        for _ in range(3):
            model(torch.ones(1, 1, dtype=torch.bfloat16)).sum().backward()
    assert model.weight.grad.item() == 259.0


def test_a_small_rate_learns_what_it_learns_in_32_bits(pool, full, encoded, tmp_path):
    """1e-5 is less than most weights can make in bfloat16; and a killed run goes on bit for bit."""
    ends = {}
    for updates in ("fp32", "bf16_stochastic"):
        config = replace(full, training=replace(full.training, updates=updates))
        with pool.lend(full.model, None) as base:
            start = {n: p.detach().clone() for n, p in base.model.named_parameters()}
            done = fit(base, config, encoded, tmp_path / updates, steps=8)
            share, losses = moved(start, done.model), done.losses
            whole = tensors(done.model)
        with pytest.raises(Interrupted), pool.lend(full.model, None) as base:
            fit(base, config, encoded, tmp_path / f"{updates} cut", steps=8, stop_before=3)
        with pool.lend(full.model, None) as base:
            again = fit(base, config, encoded, tmp_path / f"{updates} cut", steps=8)
            assert all(torch.equal(whole[name], t) for name, t in tensors(again.model).items())
            assert again.losses == losses[3:]
        ends[updates] = share, losses
    with pool.lend(replace(full.model, dtype="float32"), None) as base:
        exact = fit(base, full, encoded, tmp_path / "exact", steps=8, precision="no").losses
    for _, losses in ends.values():
        fall = exact[0] - exact[-1]
        assert losses[0] - losses[-1] == pytest.approx(fall, abs=0.2 * abs(fall) + 0.01)
    assert ends["fp32"][0] > 0.99 > 0.5 > ends["bf16_stochastic"][0] > 0.05


NAMES = (
    *("full", "ulmfit", "lora", "qlora", "rslora", "dora", "pissa", "olora", "eva", "loftq"),
    *("lora_plus", "lora_fa", "vera", "ia3", "ln_tuning", "bitfit", "oft", "shira", "peft"),
    *("importance_mask", "random_mask", "forest_importance", "adalora"),
    *("prompt_tuning", "prefix_tuning", "p_tuning", "p_tuning_v2"),
)
LESS = {
    "eva": ("method.eva_sequences=8",),
    "importance_mask": ("method.samples=8",),
    "forest_importance": ("method.masks=8", "method.samples=8", "method.trees=10"),
}


@pytest.fixture(scope="module")
def with_biases(tokenizer_builtin, tmp_path_factory):
    """The built-in model has none: a tiny GPT-2."""
    from transformers import AutoConfig, AutoModelForCausalLM

    size = {"n_layer": 2, "n_embd": 32, "n_head": 2, "initializer_range": 0.3}
    folder = tmp_path_factory.mktemp("gpt2")
    torch.manual_seed(0)
    config = AutoConfig.for_model("gpt2", vocab_size=len(tokenizer_builtin), **size)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer_builtin.save_pretrained(folder)
    return f"model.name={folder}"


@pytest.mark.parametrize("name", NAMES)
def test_every_method_trains_in_16_bits_as_it_does_in_32(
    name, pool, trial_config, encoded, with_biases, tmp_path
):
    """Each loss within 0.2 nats, where it falls by up to 4, and over 95 % of what it trains moved.

    At a quarter of its own rate: at the whole one a few amplify any rounding within eight steps.
    """
    own = (with_biases,) if name == "bitfit" else ()
    config = trial_config(f"method={name}", *own, *LESS.get(name, ()))
    quantization = methods.build(config.method).base_quantization
    some, losses = take(encoded, [0, 7, 14, 21]), []
    for dtype, precision in (("float32", "no"), ("bfloat16", "bf16")):
        model = replace(config.model, dtype=dtype)
        with pool.lend(model, quantization) as base:
            start = trained(adapted(base, config, some, 8).model)
        with pool.lend(model, quantization) as base:
            rate = config.training.learning_rate / 4
            about = {"steps": 8, "precision": precision, "learning_rate": rate}
            done = fit(base, config, some, tmp_path / dtype, **about)
            assert moved(start, done.model) > 0.95
            assert {p.dtype for p in trained(done.model).values()} == {torch.float32}
        losses.append(done.losses)
    assert losses[1] == pytest.approx(losses[0], abs=0.2)


def test_rounding_by_chance_is_right_on_average():
    """To within five standard errors; and what bfloat16 holds stays as it is."""
    generator = torch.Generator().manual_seed(1)
    value, below, gap = 1.0 + 2**-9, 1.0, 2**-7  # a quarter of the way to the next number
    for sign in (1.0, -1.0):
        drawn = rounded(torch.full((100_000,), sign * value), generator)
        assert set(drawn.tolist()) == {sign * below, sign * (below + gap)}
        error = gap * (0.25 * 0.75 / 100_000) ** 0.5
        assert drawn.double().mean().item() == pytest.approx(sign * value, abs=5 * error)
    held = torch.tensor([0.0, 1.5, -3e38, 1e-40, float("inf"), -float("inf")]).bfloat16()
    assert torch.equal(rounded(held.float(), generator), held)
    assert rounded(torch.tensor([float("nan")]), generator).isnan()


def test_steps_too_small_for_16_bits_add_up_by_chance():
    """A thousand steps of 1e-4 from 1, where the next number is 0.0078 away."""
    weight = torch.nn.Parameter(torch.ones(1000, dtype=torch.bfloat16))
    plain = copy.deepcopy(weight)
    optimizer = StochasticRounding(torch.optim.SGD([weight], lr=1e-4), seed=3)
    nearest = torch.optim.SGD([plain], lr=1e-4)
    for _ in range(1000):
        weight.grad, plain.grad = -torch.ones_like(weight), -torch.ones_like(plain)
        optimizer.step()
        nearest.step()
    assert weight.dtype == torch.bfloat16
    assert weight.double().mean().item() == pytest.approx(1.1, abs=0.005)
    assert (plain == 1).all()


@pytest.mark.parametrize(
    ("name", "precision", "updates", "dtype", "says"),
    [
        ("lora", "fp16", "fp32", "float32", r"training.precision='fp16' needs a GPU"),
        ("full", "no", "fp32", "float16", r"weights are in float16, .*model.dtype=float32"),
        ("ln_tuning", "bf16", "fp32", "float16", r"weights are in float16, .*model.dtype=float32"),
        ("full", "no", "bf16_stochastic", "float32", r"training.updates='bf16_stochastic' cannot"),
    ],
)
def test_precisions_that_do_not_go_together_are_refused(
    trial_config, name, precision, updates, dtype, says
):
    config = trial_config(f"method={name}")
    training = replace(config.training, precision=precision, updates=updates)
    with pytest.raises(InputError, match=says):
        check_precision(training, methods.build(config.method), getattr(torch, dtype), "cpu")


def test_adapters_beside_float16_weights_need_no_scaling(trial_config):
    config = trial_config("method=lora")
    check_precision(config.training, methods.build(config.method), torch.float16, "cpu")


def test_what_is_saved_is_what_was_measured_and_what_was_trained(
    bench, trial_config, tmp_path, pool
):
    """In 32 bits on disk, and as transformers loads it; on the base, what was measured."""
    from transformers import AutoModelForCausalLM

    on = ("training.max_steps=4", "evaluation.interpolation=[1]", "evaluation.update_analysis=true")
    config = trial_config("method=full", *BF16, *on)
    record = run_trial(job(tmp_path, bench.cache, config, keep_adapter=True), bench)
    assert record.provenance["precision"] == {
        "passes": "bfloat16",
        "updates": "fp32",
        "trained": ["float32"],
        "measured": "bfloat16",
    }
    as_measured = record.afterwards["interpolated 1"].measurements
    for name, found in record.measurements.items():
        assert as_measured[name].value == pytest.approx(found.value, rel=1e-6), name
    adapter = tmp_path / "adapter"
    stored = load_file(adapter / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float32}
    loaded = AutoModelForCausalLM.from_pretrained(adapter)
    with pool.lend(config.model, None) as base:
        start = dict(base.model.named_parameters())
        n = sum(int((stored[name] != start[name].float()).sum()) for name in stored)
        assert n > 0.95 * sum(tensor.numel() for tensor in stored.values())
        model = methods.build(config.method).load(base.model, adapter)
        assert loaded.dtype == torch.float32
        exact, measured = logits_of(loaded.eval(), IDS), logits_of(model, IDS).float()
        assert (exact - measured).abs().max() < 0.03 * exact.abs().max()
    update = record.afterwards["update"].measurements["update.relative_norm"].value
    norm = sum(float(start[name].float().square().sum()) for name in stored) ** 0.5
    steps = 1e-5 * (0.5 + 1 + 1 + 0.5)  # the most that Adam can go, at these rates
    assert update < 1.2 * steps * sum(t.numel() for t in stored.values()) ** 0.5 / norm


def test_each_entry_is_rounded_at_the_threshold_of_its_place():
    """In blocks on a CPU, as by arithmetic of arbitrary precision, entry by entry."""
    n = 2 * BLOCK + 7
    bits = torch.randint(-(2**31), 2**31, (n,), generator=torch.Generator().manual_seed(0))
    values = bits.int().view(torch.float32)
    values[values.isnan()] = 1.5
    values[3], values[BLOCK + 3], values[BLOCK + 4] = float("inf"), float("nan"), -0.1
    rounded = as_computed(values.view(1, n), torch.bfloat16)
    assert rounded.shape == (1, n) and rounded.dtype == torch.bfloat16
    assert rounded[0, 3] == float("inf") and rounded[0, BLOCK + 3].isnan()
    halves = rounded[0].view(torch.int16).tolist()
    words = values.view(torch.int32).tolist()
    for i in (0, 1, 2, 5, 1000, BLOCK - 1, BLOCK, BLOCK + 1, BLOCK + 4, 2 * BLOCK, n - 1):
        if values[i].isfinite():
            upper = (words[i] % 2**32 + (i * GOLDEN % 2**32 >> 16)) % 2**32 >> 16
            assert halves[i] % 2**16 == upper, i
    places = torch.tensor([0, 5, BLOCK, n - 1])
    few = as_computed(values[places], torch.bfloat16, places)
    assert torch.equal(few.view(torch.int16), rounded[0, places].view(torch.int16))
