"""A model that sees the tokens to predict is refused, whatever the name of its class."""

from __future__ import annotations

import pytest
import torch
from tiny import built, saved

from harness.errors import InputError
from harness.models.checks.causality import check_causal
from harness.models.load import load_base
from harness.models.loading.skeleton import load_skeleton

SMALL = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
SMALL |= {"intermediate_size": 64, "pad_token_id": 0}


def encoder(kind: str, **fields):
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(
        AutoConfig.for_model(kind, **{**SMALL, **fields})
    ).eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["bert", "roberta", "electra"])
def test_encoders_are_refused_at_any_precision(kind, dtype):
    with pytest.raises(
        InputError, match=r"model.name='m' cannot be used: .* is not a causal language"
    ):
        check_causal(encoder(kind).to(dtype), "m")


def test_the_same_encoder_with_a_causal_mask_is_one():
    check_causal(encoder("bert", is_decoder=True), "m")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("architecture", ["Mixtral", "Gemma 3", "Qwen3-Next", "Mamba", "BLOOM"])
def test_causal_models_of_every_kind_pass(architecture, dtype):
    """Experts, windows, linear attention, recurrence, distances: none depends on what follows."""
    check_causal(built(architecture).to(dtype), "m")


def test_a_leak_of_one_layer_is_enough():
    """A causal model whose second layer mixes in the mean of all tokens."""
    model = built("Llama")
    model.model.layers[1].register_forward_hook(
        lambda layer, inputs, output: output + 1e-3 * output.mean(dim=1, keepdim=True)
    )
    with pytest.raises(InputError, match="not a causal language model"):
        check_causal(model, "m")


def test_what_is_loaded_is_checked(tmp_path):
    config = saved(encoder("bert"), tmp_path)
    with pytest.raises(InputError, match="BertLMHeadModel is not a causal language model"):
        load_base(config, None, "cpu")


def test_encoder_decoders_are_refused_before_anything_is_loaded(tmp_path):
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    sizes = {
        f"{part}_{n}": 1 for part in ("encoder", "decoder") for n in ("layers", "attention_heads")
    }
    config = AutoConfig.for_model("bart", vocab_size=64, d_model=8, **sizes)
    named = saved(AutoModelForSeq2SeqLM.from_config(config), tmp_path)
    for load in (load_skeleton, lambda config: load_base(config, None, "cpu")):
        with pytest.raises(InputError, match=r"cannot be used: bart is an encoder-decoder"):
            load(named)
