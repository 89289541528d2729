"""LoRA against its paper: parameter counts, scaling, start, merge."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from running import adapted, fit, logits_of
from skeletons import GPT2, PLAN, configured, skeleton, trained

from harness.errors import InputError
from harness.methods.targets import linear_modules, resolve_targets

IDS = torch.arange(3, 43).reshape(2, 20)
# Rows of the built-in q_proj and k_proj may be zero, which DoRA cannot take.
DORA_TARGETS = "method.target_modules=[v_proj,o_proj,gate_proj,up_proj,down_proj]"


def lora(**changes):
    return configured("lora", **{"r": 4, "lora_alpha": 8.0, **changes})


def test_count_gpt2_all_linear():
    model = skeleton("gpt2", **GPT2["s"])
    d = 768
    per_layer = [(d, 3 * d), (d, d), (d, 4 * d), (4 * d, d)]  # attention in, out; two of the MLP
    assert sorted(linear_modules(model).values()) == sorted(per_layer * 12)
    assert trained(lora(r=8), model) == 12 * sum(8 * (a + b) for a, b in per_layer)


@pytest.mark.parametrize(
    ("r", "expected"),
    [(1, 4_718_592), (2, 9_437_184), (4, 18_874_368), (8, 37_748_736), (64, 301_989_888)],
)
def test_count_gpt3_width(r, expected):
    """96 layers are one layer 96 times."""
    model = skeleton(
        "llama",
        hidden_size=12288,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=96,
        num_key_value_heads=96,
        vocab_size=8,
    )
    assert 96 * trained(lora(r=r, target_modules=["q_proj", "v_proj"]), model) == expected


def test_all_linear_leaves_the_output_layer_alone():
    for tied in (True, False):
        fields = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2}
        model = skeleton("llama", num_hidden_layers=1, tie_word_embeddings=tied, **fields)
        assert "lm_head" not in resolve_targets(model, "all-linear")
        assert len(linear_modules(model)) == 7


def test_targets_and_ranks_that_the_model_does_not_have(lend):
    with lend() as base:
        with pytest.raises(InputError, match="q_proj"):
            lora(target_modules=["q_prj"]).check(base.model)
        with pytest.raises(InputError, match=r"method\.target_modules is empty"):
            lora(target_modules=[]).check(base.model)
        with pytest.raises(InputError, match=r"method\.r=129"):
            lora(r=129).check(base.model)
        lora(r=128).check(base.model)


@pytest.mark.parametrize(("rslora", "scaling"), [(False, 0.25), (True, 2.0)])
def test_scaling(lend, rslora, scaling):
    with lend() as base:
        model = lora(r=64, lora_alpha=16.0, use_rslora=rslora).adapt(base.model, PLAN)
        layer = model.base_model.model.model.layers[0].self_attn.q_proj
        assert layer.scaling["default"] == scaling


def test_start_is_uniform_within_one_over_root_in():
    model = skeleton(
        "llama",
        hidden_size=1024,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=8,
        vocab_size=8,
    ).to_empty(device="cpu")
    torch.manual_seed(0)
    model = lora(r=256, target_modules=["q_proj"]).adapt(model, PLAN)
    layer = model.base_model.model.model.layers[0].self_attn.q_proj
    a = layer.lora_A["default"].weight.detach()
    b = layer.lora_B["default"].weight.detach()
    assert 0.03124 < float(a.abs().max()) <= 0.03125
    assert float(a.std()) == pytest.approx(0.018042196, rel=0.005)
    assert float(b.abs().max()) == 0.0


@pytest.mark.parametrize(
    "method",
    [
        ["method=lora"],
        ["method=lora", "method.use_rslora=true"],
        ["method=lora", DORA_TARGETS, "method.use_dora=true"],
        ["method=adalora"],
    ],
    ids=lambda value: value[-1],
)
def test_untrained_is_exactly_the_base(lend, trial_config, method):
    with lend() as base:
        expected = logits_of(base.model, IDS)
        model = adapted(base, trial_config(*method)).model
        assert float((logits_of(model, IDS) - expected).abs().max()) == 0.0


def test_merge_by_hand():
    """Merged by hand: W + (α/r)BA, and the same answer on both ways."""
    from peft import LoraConfig, get_peft_model

    class One(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 2, bias=False)
            self.layer.weight.data = torch.tensor([[1.0, 2.0], [3.0, 4.0]])

        def forward(self, x):
            return self.layer(x)

    model = get_peft_model(One(), LoraConfig(r=1, lora_alpha=2, target_modules=["layer"]))
    layer = model.base_model.model.layer
    layer.lora_A["default"].weight.data = torch.tensor([[1.0, 0.0]])
    layer.lora_B["default"].weight.data = torch.tensor([[0.5], [-1.0]])
    x = torch.ones(1, 2)
    assert model(x).tolist() == [[4.0, 5.0]]
    merged = model.merge_and_unload()
    assert merged.layer.weight.tolist() == [[2.0, 2.0], [1.0, 4.0]]
    assert merged(x).tolist() == [[4.0, 5.0]]


@pytest.mark.parametrize("variant", ["use_rslora=false", "use_rslora=true", "use_dora=true"])
def test_merged_answers_the_same(lend, trial_config, encoded, tmp_path, variant):
    of_method = ["method=lora", f"method.{variant}", DORA_TARGETS]
    config = trial_config(*of_method, "training.learning_rate=5e-3")
    with lend() as base:
        before = logits_of(base.model, IDS)
        done = fit(base, config, encoded, tmp_path)
        tuned = logits_of(done.model, IDS)
        merged = logits_of(done.model.merge_and_unload(), IDS)
        assert float((tuned - before).abs().max()) > 0.01
        assert float((tuned - merged).abs().max()) < 1e-5 * float(tuned.abs().max())


def test_dropout_acts_only_while_training(lend, trial_config, encoded, tmp_path):
    config = trial_config("method=lora", "method.lora_dropout=0.5")
    config = replace(config, training=replace(config.training, learning_rate=5e-3))
    with lend() as base:
        done = fit(base, config, encoded, tmp_path)
        once, again = logits_of(done.model, IDS), logits_of(done.model, IDS)
        assert torch.equal(once, again)
        done.model.train()
        with torch.no_grad():
            noisy = done.model(input_ids=IDS).logits
        assert not torch.allclose(noisy, once, atol=1e-4)


def test_dora_refuses_rows_without_direction(lend):
    """peft would divide zero by zero: NaN from the first forward pass on."""
    with lend() as base:
        with torch.no_grad():
            base.model.model.layers[1].self_attn.v_proj.weight[5] = 0
        with pytest.raises(InputError, match=r"1 rows .* model\.layers\.1\.self_attn\.v_proj are"):
            lora(use_dora=True, target_modules=["v_proj"]).adapt(base.model, PLAN)


def test_gpt2_trains_and_merges():
    """Conv1D all the way: adapt, one step, merge."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    small = AutoConfig.for_model("gpt2", n_layer=2, n_embd=16, n_head=2, vocab_size=64)
    model = AutoModelForCausalLM.from_config(small).eval()
    ids = IDS
    before = logits_of(model, ids)
    model = lora().adapt(model, PLAN)
    assert float((logits_of(model, ids) - before).abs().max()) == 0.0
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.05)
    for _ in range(3):
        torch.nn.functional.cross_entropy(
            model(input_ids=ids).logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()
        ).backward()
        optimizer.step()
        optimizer.zero_grad()
    tuned = logits_of(model, ids)
    assert float((tuned - before).abs().max()) > 1e-3
    assert float((logits_of(model.merge_and_unload(), ids) - tuned).abs().max()) < 1e-5


@pytest.mark.parametrize(
    "wrong", [{"r": 0}, {"lora_alpha": 0.0}, {"lora_dropout": 1.0}, {"lora_dropout": math.nan}]
)
def test_values_that_cannot_be_used(wrong):
    with pytest.raises(InputError, match=f"method.{next(iter(wrong))}"):
        lora(**wrong)
