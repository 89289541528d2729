"""Virtual tokens read once for all rows are the virtual tokens that peft reads in each row."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from running import adapted
from tiny import built

from harness.models.cached.virtual_prefix import shared_prefix
from harness.models.logits import logits_at

METHODS = {
    "prompt_tuning": [],
    "p_tuning": [],
    "prefix_tuning": [],
    "p_tuning_v2": ["method.init=activations"],
}


def batch():
    """Three rows of 9, 7 and 2 tokens, and every place that predicts one."""
    ids = torch.from_numpy(np.random.default_rng(0).integers(3, 60, (3, 9)))
    mask = (torch.arange(9) < torch.tensor([[9], [7], [2]])).long()
    where = mask.bool()
    where[:, -1] = False
    return ids, mask, where


def gradients(model, share):
    model.zero_grad(set_to_none=True)
    logits = logits_at(model, *batch(), share_virtual_tokens=share)
    logits.log_softmax(-1)[:, 5].mean().backward()
    return logits.detach(), [p.grad for p in model.parameters() if p.requires_grad]


@pytest.mark.parametrize("name", METHODS)
def test_logits_and_gradients_are_those_of_virtual_tokens_in_each_row(lend, trial_config, name):
    with lend() as base:
        model = adapted(base, trial_config(f"method={name}", *METHODS[name])).model
        model.train()
        assert shared_prefix(model, 3) is not None
        shared, own = gradients(model, True), gradients(model, False)
        torch.testing.assert_close(shared[0], own[0], atol=2e-5, rtol=1e-4)
        for one, other in zip(shared[1], own[1], strict=True):
            torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-3)


def test_they_are_computed_for_one_row(lend, trial_config):
    """Inputs of the first layer: the virtual tokens once, and 3 rows of 9."""
    config = trial_config("method=prompt_tuning", "method.num_virtual_tokens=20")
    with lend() as base:
        model = adapted(base, config).model
        seen = []
        layer = base.model.model.layers[0]
        handle = layer.register_forward_pre_hook(
            lambda module, inputs, named: seen.append(
                tuple((inputs[0] if inputs else named["hidden_states"]).shape[:2])
            ),
            with_kwargs=True,
        )
        logits_at(model, *batch())
        handle.remove()
    assert seen == [(1, 20), (3, 9)]


def with_prompt(architecture, **fields):
    from peft import PromptTuningConfig, get_peft_model

    base = built(architecture, **fields)
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4, num_layers=1)
    config.token_dim, config.num_attention_heads = base.get_input_embeddings().embedding_dim, 1
    return get_peft_model(base, config)


SHARING = {"OPT": True, "GPT-2": True, "Qwen3": True, "DeepSeek-V2": True, "BLOOM": False}
SHARING |= {"Gemma 2": False, "GPT-Neo": False, "Mamba": False}  # windows; a state in place of keys


@pytest.mark.parametrize("architecture", SHARING)
def test_other_architectures(architecture):
    model = with_prompt(architecture).eval()
    assert (shared_prefix(model, 3) is not None) == SHARING[architecture]
    with torch.no_grad():
        one, other = (logits_at(model, *batch(), share) for share in (True, False))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_dropout_of_each_row_and_checkpointing_need_virtual_tokens_of_their_own():
    model = with_prompt("GPT-2", attn_pdrop=0.1)
    assert shared_prefix(model.eval(), 3) is not None
    assert shared_prefix(model.train(), 3) is None
    model = with_prompt("Qwen3").train()
    assert shared_prefix(model, 3) is not None
    model.gradient_checkpointing_enable()
    assert shared_prefix(model, 3) is None
