"""Layers selected by the presets, in architectures with different names."""

from __future__ import annotations

import pytest
import torch
from skeletons import PLAN, configured, skeleton, trained

from harness.errors import InputError
from harness.methods.targets import chosen_modules, linear_modules, resolve_targets

NARROW = {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2, "vocab_size": 8}
SMALL = {
    "llama": {**NARROW, "intermediate_size": 24},
    "gpt2": {"n_layer": 2, "n_embd": 16, "n_head": 2, "vocab_size": 8},
    "opt": {**NARROW, "ffn_dim": 24, "word_embed_proj_dim": 16},
    "gpt_neox": {**NARROW, "intermediate_size": 24},
    "falcon": NARROW,
    "bloom": {"n_layer": 2, "hidden_size": 16, "n_head": 2, "vocab_size": 8},
    "phi": {**NARROW, "intermediate_size": 24},
    "gptj": {"n_layer": 2, "n_embd": 16, "n_head": 2, "rotary_dim": 4, "vocab_size": 8},
    "phi3": {**NARROW, "intermediate_size": 24, "pad_token_id": 0},
}
OF_LLAMA = {
    "qv": "q_proj v_proj",
    "kv-down": "down_proj k_proj v_proj",
    "attention": "k_proj o_proj q_proj v_proj",
    "mlp": "down_proj gate_proj up_proj",
    "all-linear": "down_proj gate_proj k_proj o_proj q_proj up_proj v_proj",
}
ATTENTION_AND_MLP = {
    "gpt2": ("attn.c_proj c_attn", "c_fc mlp.c_proj"),
    "opt": ("k_proj out_proj q_proj v_proj", "fc1 fc2"),
    "gpt_neox": ("dense query_key_value", "dense_4h_to_h dense_h_to_4h"),
    "falcon": ("dense query_key_value", "dense_4h_to_h dense_h_to_4h"),
    "bloom": ("dense query_key_value", "dense_4h_to_h dense_h_to_4h"),
    "phi": ("dense k_proj q_proj v_proj", "fc1 fc2"),
    "gptj": ("k_proj out_proj q_proj v_proj", "fc_in fc_out"),
    "phi3": ("o_proj qkv_proj", "down_proj gate_up_proj"),
}
QV = {"opt": "q_proj v_proj", "phi": "q_proj v_proj", "gptj": "q_proj v_proj"}
KV_DOWN = {"opt": "fc2 k_proj v_proj", "phi": "fc2 k_proj v_proj", "gptj": "fc_out k_proj v_proj"}
FUSED = {
    "gpt2": "c_attn",
    "gpt_neox": "query_key_value",
    "falcon": "query_key_value",
    "bloom": "query_key_value",
    "phi3": "qkv_proj",
}


@pytest.mark.parametrize("preset", OF_LLAMA)
def test_presets_of_llama(preset):
    model = skeleton("llama", **SMALL["llama"])
    assert " ".join(resolve_targets(model, preset)) == OF_LLAMA[preset]
    assert len(chosen_modules(model, preset)) == 2 * len(OF_LLAMA[preset].split())


@pytest.mark.parametrize("kind", ATTENTION_AND_MLP)
def test_presets_of_others(kind):
    """Suffixes are shortest, but long enough: GPT-2 has a c_proj in both parts."""
    model = skeleton(kind, **SMALL[kind])
    parts = [resolve_targets(model, preset) for preset in ("attention", "mlp")]
    assert tuple(map(" ".join, parts)) == ATTENTION_AND_MLP[kind]
    both = {**chosen_modules(model, "attention"), **chosen_modules(model, "mlp")}
    assert both == linear_modules(model) == chosen_modules(model, "all-linear")
    if kind in QV:
        assert " ".join(resolve_targets(model, "qv")) == QV[kind]
        assert " ".join(resolve_targets(model, "kv-down")) == KV_DOWN[kind]


@pytest.mark.parametrize(("kind", "layer"), FUSED.items())
def test_queries_that_cannot_be_had_apart_are_refused(kind, layer):
    model = skeleton(kind, **SMALL[kind])
    for method in (configured("lora", target_modules="qv"), configured("ia3")):
        with pytest.raises(InputError, match=rf"in one layer, {layer}\. .*\[{layer}\]"):
            method.check(model)


def test_encoder_and_decoder():
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    size = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2, "vocab_size": 8}
    with torch.device("meta"):
        model = AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model("t5", **size))
    assert resolve_targets(model, "qv") == ["q", "v"]
    assert resolve_targets(model, "attention") == ["k", "o", "q", "v"]
    assert resolve_targets(model, "mlp") == ["wi", "wo"]
    assert resolve_targets(model, "kv-down") == ["k", "v", "wo"]


@pytest.mark.parametrize("targets", ["attention", "mlp", "all-linear", ["mlp.c_proj"]])
def test_what_is_chosen_is_what_peft_adapts(targets):
    """The ends of names mean exactly these modules to peft."""
    size = {"num_attention_heads": 2, "num_hidden_layers": 2}
    for model in (skeleton("gpt2", **SMALL["gpt2"]), skeleton("llama", hidden_size=16, **size)):
        if isinstance(targets, list) and model.config.model_type != "gpt2":
            continue
        chosen = set(chosen_modules(model, targets))
        tuned = configured("lora", r=1, target_modules=targets).adapt(model, None)
        assert set(tuned.targeted_module_names) == chosen


def test_names_and_paths():
    model = skeleton("gpt2", **SMALL["gpt2"])
    assert len(chosen_modules(model, ["c_proj"])) == 4
    assert list(chosen_modules(model, "mlp.c_proj")) == [
        "transformer.h.0.mlp.c_proj",
        "transformer.h.1.mlp.c_proj",
    ]
    first = ["transformer.h.0.attn.c_attn"]
    assert resolve_targets(model, first) == ["0.attn.c_attn"]
    assert trained(configured("lora", r=1, target_modules=first), model) == 16 + 48


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["q_prj"], r"Did you mean .*q_proj.*Known: .*down_proj"),
        ("everything", r"Unknown module .* Known: .*all-linear.*kv-down.*qv"),
        ([], r"method\.target_modules is empty; this model has: down_proj"),
        (["embed_tokens"], r"embed_tokens is an? Embedding; only Linear and Conv1D"),
        (["q_proj", "norm"], r"norm is a LlamaRMSNorm"),
    ],
)
@pytest.mark.parametrize(
    "method", ["lora", "dora", "adalora", "vera", "ia3", "oft", "shira", "peft"]
)
def test_what_matches_nothing_is_refused(method, targets, message):
    model = skeleton("llama", **SMALL["llama"])
    with pytest.raises(InputError, match=message):
        configured(method, target_modules=targets).check(model)


def test_an_unknown_architecture_is_told_what_it_has():
    model = torch.nn.Module()
    model.mixer = torch.nn.ModuleDict({"x_proj": torch.nn.Linear(4, 2)})
    assert list(chosen_modules(model, "all-linear")) == ["mixer.x_proj"]
    for preset in ("attention", "mlp", "qv", "kv-down"):
        with pytest.raises(InputError, match=r"has no .* it has: x_proj"):
            chosen_modules(model, preset)


@pytest.mark.parametrize(
    ("method", "what"), [("oft", "OFT"), ("shira", "SHiRA"), ("olora", "OLoRA")]
)
def test_layers_that_peft_does_not_know_are_refused_before_training(method, what):
    model = skeleton("gpt2", **SMALL["gpt2"])
    with pytest.raises(InputError, match=rf"{what} cannot be used on this model: .* is a Conv1D"):
        configured(method).check(model)


@pytest.mark.parametrize("method", ["lora", "dora", "pissa", "vera"])
def test_conv1d_where_peft_knows_it(method):
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model("gpt2", **SMALL["gpt2"])
    model = AutoModelForCausalLM.from_config(config).eval()
    ids = torch.arange(8).reshape(2, 4)
    with torch.no_grad():
        before = model(input_ids=ids).logits
        chosen = configured(method, r=2)
        chosen.check(model)
        after = configured(method, r=2).adapt(model, PLAN).eval()(input_ids=ids).logits
    assert float((after - before).abs().max()) < 1e-6
