"""Numbers of trained parameters: published counts, by formula and by adapting."""

from __future__ import annotations

import pytest
from skeletons import GPT2, LLAMA_3B, LLAMA_7B, PLAN, configured, skeleton, trained

from harness import methods
from harness.errors import InputError

MLP = ["gate_proj", "up_proj", "down_proj"]

# What peft's own results say (num_trainable_params) of Llama-3.2-3B, and what the papers' tables do.
PUBLISHED = [
    ("llama-3b", "lora", {"r": 32, "target_modules": "qv"}, 9_175_040),
    ("llama-3b", "lora", {"r": 64, "target_modules": "qv"}, 18_350_080),
    ("llama-3b", "lora", {"r": 10, "target_modules": "mlp"}, 9_461_760),
    ("llama-3b", "lora", {"r": 10, "target_modules": MLP}, 9_461_760),
    ("llama-3b", "rslora", {"r": 64, "target_modules": "qv"}, 18_350_080),
    ("llama-3b", "dora", {"r": 32, "target_modules": "qv"}, 9_289_728),
    ("llama-3b", "vera", {"r": 256, "target_modules": "qv"}, 129_024),
    ("llama-3b", "ia3", {}, 286_720),
    ("llama-3b", "ln_tuning", {}, 175_104),
    ("llama-7b", "lora", {"r": 64}, 159_907_840),
    ("gpt2-m", "lora", {"r": 4, "target_modules": ["c_attn"]}, 393_216),
    ("gpt2-l", "lora", {"r": 4, "target_modules": ["c_attn"]}, 737_280),
    ("gpt2-s", "lora", {"r": 4, "target_modules": ["c_attn"]}, 147_456),
    ("gpt2-s", "lora", {"r": 8, "target_modules": ["c_attn"]}, 294_912),
    # SHiRA has as many as LoRA of the same rank; with A frozen B's half is left.
    ("llama-3b", "shira", {"r": 32, "target_modules": "qv"}, 9_175_040),
    ("llama-3b", "lora_fa", {"r": 32, "target_modules": "qv"}, 28 * 32 * (3072 + 1024)),
    # The biases of GPT-2: 9 in a layer's linear parts, two norms a layer, and the last norm.
    ("gpt2-s", "bitfit", {}, 12 * (9 + 2) * 768 + 768),
    # d_in·(b − 1)/2 in each target, 3072 wide but for the one out of the MLP.
    ("llama-3b", "oft", {"block_size": 32}, 28 * (6 * 3072 + 8192) * 31 // 2),
    ("llama-3b", "oft", {"block_size": 32, "block_share": True}, 28 * 7 * 32 * 31 // 2),
]
WITH_ADAPTERS_OF_WEIGHTS = ("shira",)  # needs the numbers: a mask cannot be drawn without


def model_of(name):
    if name.startswith("gpt2"):
        return skeleton("gpt2", **GPT2[name[-1]])
    return skeleton("llama", **(LLAMA_3B if name == "llama-3b" else LLAMA_7B))


@pytest.mark.parametrize(("size", "method", "fields", "expected"), PUBLISHED)
def test_published_count(size, method, fields, expected):
    model = model_of(size)
    chosen = configured(method, **fields)
    chosen.check(model)
    assert chosen.trainable_parameters(model) == expected
    if method not in WITH_ADAPTERS_OF_WEIGHTS:
        assert trained(chosen, model) == expected


def test_adalora_trains_its_initial_budget_and_ends_with_the_final_one():
    model = model_of("llama-3b")
    method = configured("adalora", init_r=64, target_r=32, target_modules="qv")
    parameters = method.adapt(model_of("llama-3b"), PLAN).named_parameters()
    initial = {name: p.numel() for name, p in parameters if ".lora_" in name}
    assert sum(initial.values()) == 18_353_664
    assert method.final_parameters(model) == 32 * 28 * (3072 + 3072 + 1 + 3072 + 1024 + 1)


def test_a_hundred_by_a_hundred():
    """LoRA at r=4 on 100 × 100 has 800 parameters instead of 10 000."""
    square = {"hidden_size": 100, "intermediate_size": 8, "num_attention_heads": 1}
    model = skeleton("llama", num_hidden_layers=1, vocab_size=8, **square)
    assert configured("lora", r=4, target_modules=["q_proj"]).trainable_parameters(model) == 800


MATCHED = [
    # method, what it is asked for, its size then, what that trains
    ("lora", {"target_modules": "qv"}, 9_175_040, {"r": 32}),
    ("lora", {"target_modules": "qv"}, 9_175_040 + 286_719, {"r": 32}),
    ("lora", {"target_modules": "qv"}, 9_175_040 + 286_720, {"r": 33}),
    ("lora", {"target_modules": "qv"}, 9_175_039, {"r": 31}),
    ("dora", {"target_modules": "qv"}, 9_289_728, {"r": 32}),
    ("lora_fa", {"target_modules": "qv"}, 9_175_040, {"r": 80}),
    ("adalora", {"target_modules": "qv"}, 9_176_832, {"target_r": 32}),
    ("vera", {"target_modules": "qv"}, 129_024, {"r": 256}),
    ("vera", {"target_modules": "qv"}, 9_175_040, {"r": 161_792}),
    ("shira", {"target_modules": "qv"}, 9_175_040, {"r": 32}),
    ("oft", {}, 28 * (6 * 3072 + 8192) * 31 // 2 + 5, {"block_size": 32}),
]


@pytest.mark.parametrize(("method", "fields", "wanted", "size"), MATCHED)
def test_size_from_a_number_of_parameters(method, fields, wanted, size):
    model = model_of("llama-3b")
    written = configured(method, **fields)
    fitted = written.matched(model, wanted)
    assert {name: getattr(fitted, name) for name in size} == size
    assert set(size) == {written.size_field}
    fitted.check(model)
    count = "final_parameters" if method == "adalora" else "trainable_parameters"
    assert getattr(fitted, count)(model) <= wanted


@pytest.mark.parametrize(
    ("method", "wanted", "message"),
    [
        ("lora", 100, r"=100 cannot be reached: method\.r=1 already trains 10240, the least"),
        ("lora", 10**9, r"method\.r=128 trains 1310720, the most"),
        ("adalora", 100, r"method\.target_r=1 already trains 10268"),
        ("vera", 100, r"method\.r=1 already trains"),
        ("oft", 100, r"method\.block_size=2 already trains"),
        ("shira", 10**9, r"method\.r=64 trains 655360"),
        ("ia3", 100, r"method\.match\.trainable_parameters cannot be used"),
        ("ln_tuning", 100, r"method\.match\.trainable_parameters cannot be used"),
    ],
)
def test_sizes_that_do_not_exist(lend, method, wanted, message):
    with lend() as base, pytest.raises(InputError, match=message):
        configured(method).matched(base.model, wanted)


def test_alpha_as_a_multiple_follows_the_rank_that_was_found(lend, trial_config):
    config = trial_config("method=lora", "method.match.trainable_parameters=41000").method
    with lend() as base:
        method = methods.fitted(config, base.model)
        assert method.r == 4 and method.lora_alpha == "2r"
        model = method.adapt(base.model, None)
        layer = model.base_model.model.model.layers[0].self_attn.q_proj
        assert layer.scaling["default"] == 2.0
