"""Quantized after training: against definitions and bitsandbytes, and nothing spent in vain."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch
from running import job, logits_of, plan_for
from torch.nn.functional import kl_div

from harness.afterwards import check_schemes
from harness.afterwards.quantize import INC, SCHEMES, quantized
from harness.errors import InputError
from harness.models.loading.skeleton import load_skeleton
from harness.models.pool import checksums
from harness.models.quantization import Quantization
from harness.models.weights.stored_bytes import stored_bytes, stored_tensors
from harness.trials.run import Workbench, run_trial

IDS = torch.arange(3, 43).reshape(2, 20)
WEIGHTS, OUTPUTS = 4 * (4 * 128 * 128 + 3 * 128 * 384), 4 * (4 * 128 + 2 * 384 + 128)
INPUTS = 4 * (6 * 128 + 384)
torchao = pytest.mark.skipif(find_spec("torchao") is None, reason="needs harness[ptq]")


def llama(hidden, intermediate):
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": hidden, "intermediate_size": intermediate, "num_attention_heads": 2}
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(vocab_size=64, num_hidden_layers=1, **sizes)).eval()


@pytest.fixture(scope="module")
def calibration(trial_config, encoded, tokenizer_builtin):
    config = trial_config("method=full")
    return list(plan_for(config, tokenizer_builtin, 1, encoded).calibration(8, batch_size=1))


@pytest.fixture(scope="module")
def made(pool, model_config, calibration):
    """scheme -> (model, bytes, note) of the built-in base, and what became of the base itself."""
    with pool.lend(model_config, None) as base:
        before = checksums(base.model)
        done = {scheme: quantized(base.model, scheme, calibration) for scheme in SCHEMES}
        assert checksums(base.model) == before
    return done


@pytest.fixture(scope="module")
def distance(pool, model_config, calibration):
    """KL(full precision ‖ model) in nats a token on the calibration texts."""

    def logprobs(model):
        with torch.no_grad():
            rows = [model(batch.input_ids).logits[0].float() for batch in calibration]
        return torch.cat(rows).log_softmax(-1)

    with pool.lend(model_config, None) as base:
        exact = logprobs(base.model)
    return lambda model: float(
        kl_div(logprobs(model), exact, reduction="batchmean", log_target=True)
    )


@torchao
def test_bytes_are_those_of_the_formats(made, pool, model_config):
    """Embeddings, norms and output layer stay; scales, zero points and activations' scales count."""
    with pool.lend(model_config, None) as base:
        rest = stored_bytes(base.model) - 4 * WEIGHTS
    frequencies = 2 * 4 * 16  # of the positions, the only buffers: never cast
    assert made["int8"][1] == rest + WEIGHTS + 5 * OUTPUTS
    assert made["w8a8"][1] == made["int8"][1]
    assert made["smoothquant"][1] == made["int8"][1] + 4 * INPUTS
    rest = frequencies + (rest - frequencies) // 2  # bfloat16
    assert made["int4"][1] == rest + WEIGHTS // 2 + 4 * WEIGHTS // 128
    assert made["awq"][1] == made["int4"][1] + 2 * INPUTS


@torchao
def test_more_bits_and_more_care_cost_less(made, distance):
    kl = {scheme: distance(model) for scheme, (model, _, _) in made.items()}
    assert 0 < kl["int8"] < kl["w8a8"] < 0.05 < kl["int4"]
    assert kl["smoothquant"] < kl["w8a8"]
    assert kl["awq"] < kl["int4"]


def test_nf4_is_the_base_that_bitsandbytes_loads(pool, model_config):
    with pool.lend(model_config, None) as base:
        small, _, note = quantized(base.model, "nf4", [])
    with pool.lend(model_config, Quantization("nf4", True)) as base:
        assert torch.equal(logits_of(small, IDS), logits_of(base.model, IDS))
    assert "double quantization" in note


@torchao
def test_int8_weights_are_rounded_a_row(made, lend):
    with lend() as base:
        full = base.model.model.layers[2].mlp.gate_proj.weight.detach().clone()
    weight = made["int8"][0].model.layers[2].mlp.gate_proj.weight
    scale = full.abs().amax(1, keepdim=True) / 127.5
    assert torch.allclose(weight.scale, scale)
    by_hand = (full / scale).round().clamp(-128, 127)
    assert float((weight.qdata - by_hand).abs().max()) <= 1  # what lies between two steps
    assert float((weight.qdata != by_hand).float().mean()) < 1e-3


def smoothing(inputs, weight, alpha=0.5):
    """s_j = max|X_j|^α / max|W_j|^(1−α) (arXiv:2211.10438 Eq. 4) from maxima a channel."""
    return inputs**alpha / weight ** (1 - alpha)


@torchao
def test_smoothing_is_the_papers(made, lend, calibration):
    """SmoothQuant's factors by hand, and of a layer from the activations that it really sees."""
    given = (torch.tensor([100.0, 4.0, 1.0]), torch.tensor([1.0, 1.0, 4.0]))
    assert smoothing(*given).tolist() == [10.0, 2.0, 0.5]
    seen = []
    with lend() as base:
        layer = base.model.model.layers[1].mlp.down_proj
        full = layer.weight.detach().clone()
        handle = layer.register_forward_pre_hook(
            lambda module, given: seen.append(given[0][0].abs().amax(0))
        )
        with torch.no_grad():
            for batch in calibration:
                base.model(batch.input_ids)
        handle.remove()
    expected = smoothing(torch.stack(seen).amax(0), full.abs().amax(0))
    weight = made["smoothquant"][0].model.layers[1].mlp.down_proj.weight
    assert torch.allclose(1 / weight.act_pre_scale, expected, rtol=1e-3)
    scale = (full * expected).abs().amax(1, keepdim=True) / 127.5
    assert torch.allclose(weight.scale, scale, rtol=1e-3)


@torchao
def test_rows_that_do_not_divide_into_groups_stay(calibration):
    model, _, note = quantized(llama(64, 80), "int4", [])
    assert "groups of 64" in note and "1 of 7 layers do not divide" in note
    names = set(stored_tensors(model))
    assert "model.layers.0.mlp.down_proj.weight" in names
    assert "model.layers.0.mlp.up_proj.weight.qdata" in names
    with pytest.raises(InputError, match="no linear layer is a multiple of 32"):
        check_schemes(["int4"], llama(48, 40), "cpu")


@pytest.mark.skipif(find_spec("neural_compressor") is None, reason="needs harness[inc]")
def test_neural_compressor(pool, model_config, calibration, distance):
    """GPTQ looks at the training data, so it is nearer on them than rounding is."""
    with pool.lend(model_config, None) as base:
        before = checksums(base.model)
        done = {scheme: quantized(base.model, scheme, calibration) for scheme in INC}
        assert checksums(base.model) == before
        rest = stored_bytes(base.model) - 4 * WEIGHTS
    far = {scheme: distance(made.model) for scheme, made in done.items()}
    assert far["inc_gptq"] < far["inc_rtn"] / 2 < 1
    for scheme, made in done.items():  # 4 bits, and in 16 bits a scale per group and a bias
        assert rest + WEIGHTS // 2 <= made.n_bytes <= rest + WEIGHTS // 2 * 1.2, scheme
        assert "Intel Neural Compressor" in made.how


# -- before anything is spent


@pytest.mark.parametrize(
    ("scheme", "why"),
    [("inc_smoothquant", "needs intel_extension_for_pytorch"), ("inc_awq", "cannot trace")],
)
def test_what_neural_compressor_cannot_do_here_is_refused_with_the_reason(
    trial_config, scheme, why
):
    with pytest.raises(InputError, match=rf"{scheme} cannot be used: .*{why}.*by torchao"):
        trial_config(f"evaluation.quantization=[{scheme}]")


def test_a_scheme_that_there_is_not(trial_config):
    with pytest.raises(InputError, match=r"'int9'.*Did you mean int8.*smoothquant"):
        trial_config("evaluation.quantization=[int9]")


def test_without_the_extra_it_says_what_to_install(monkeypatch, model_config):
    skeleton = load_skeleton(model_config)
    monkeypatch.setitem(sys.modules, "torchao", None)  # as if it were not there
    for scheme in SCHEMES:
        if scheme == "nf4":
            check_schemes([scheme], skeleton, "cpu")
            continue
        with pytest.raises(InputError, match=rf"{scheme} needs torchao.*\[ptq\]"):
            check_schemes([scheme], skeleton, "cpu")
    monkeypatch.setitem(sys.modules, "neural_compressor", None)
    for scheme in INC:
        with pytest.raises(InputError, match=rf"{scheme} needs neural_compressor.*\[inc\]"):
            check_schemes([scheme], skeleton, "cpu")


def test_a_trial_asks_first(monkeypatch, trial_config, pool, tmp_path):
    monkeypatch.setitem(sys.modules, "torchao", None)
    bench = Workbench("cpu", tmp_path / "cache")
    bench.pool = pool
    config = trial_config("method=lora", "evaluation.quantization=[awq]")
    with pytest.raises(InputError, match="needs torchao"):
        run_trial(job(tmp_path / "t", bench.cache, config, keep_adapter=True), bench)
    assert not bench.cache.exists()  # the base was not even measured


@torchao
@pytest.mark.parametrize("scheme", ["int4", "awq"])
def test_four_bits_of_torchao_are_for_a_cpu(scheme, model_config):
    with pytest.raises(InputError, match=r"runs on a CPU only.*int8, w8a8, smoothquant, nf4"):
        check_schemes([scheme], load_skeleton(model_config), "cuda:0")


@torchao
def test_what_torchao_does_not_quantize_is_said():
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=1, n_head=2))
    with pytest.raises(InputError, match=r"no nn\.Linear layer"):
        check_schemes(["int8"], model, "cpu")


@torchao
def test_in_a_trial(trial_config, pool, tmp_path):
    """A row a scheme beside the merged model; answers and forgetting are measured for each."""
    bench = Workbench("cpu", tmp_path / "cache")
    bench.pool = pool
    asked = ("training.max_steps=4", "training.eval_every=4", "training.learning_rate=5e-3")
    config = trial_config("method=qlora", *asked, "evaluation.quantization=[int8,smoothquant]")
    record = run_trial(job(tmp_path / "t", bench.cache, config, keep_adapter=True), bench)
    found = record.afterwards
    assert list(found) == ["merged", "quantized int8", "quantized smoothquant"]
    names = {"validation.bleu", "validation.perplexity", "forgetting.kl"}
    for outcome in found.values():
        assert names <= set(outcome.measurements)
    assert found["quantized int8"].bytes == found["merged"].bytes - 3 * WEIGHTS + 5 * OUTPUTS
    merged, int8 = (found[n].measurements["forgetting.kl"] for n in ("merged", "quantized int8"))
    assert merged.signature == int8.signature
    assert merged.value != int8.value
    assert replace(int8, value=0, interval=None) == replace(merged, value=0, interval=None)
