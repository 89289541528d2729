"""VeRA, (IA)³, norms, biases, OFT and SHiRA: what they train, against their definitions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from running import fit
from skeletons import PLAN, configured, skeleton

from harness.errors import InputError
from harness.methods.adapters.norms import norms
from harness.methods.base import Method


def adapted_modules(method: Method, model: Any) -> list[str]:
    tuned: Any = method.adapt(model, PLAN)
    return list(tuned.targeted_module_names)


def of_layer(tuned, name):
    return tuned.get_base_model().get_submodule(f"model.layers.1.{name}")


def test_vera_is_its_equation_with_one_pair_for_all_layers(lend):
    """ΔW = Λ_b·B·Λ_d·A, of which a layer takes the part that fits it."""
    with lend() as base:
        tuned = configured("vera", r=16, d_initial=0.3).adapt(base.model, PLAN)
        q, up = of_layer(tuned, "self_attn.q_proj"), of_layer(tuned, "mlp.up_proj")
        a, b = q.vera_A["default"], q.vera_B["default"]
        assert a is up.vera_A["default"] and not a.requires_grad
        lambda_d, lambda_b = q.vera_lambda_d["default"], q.vera_lambda_b["default"]
        assert torch.equal(lambda_d, torch.full((16,), 0.3)) and not lambda_b.any()
        torch.nn.init.normal_(lambda_b)
        d_out, d_in = q.get_base_layer().weight.shape
        by_hand = torch.diag(lambda_b) @ b[:d_out] @ torch.diag(lambda_d) @ a[:, :d_in]
        torch.testing.assert_close(q.get_delta_weight("default"), by_hand.detach())


def test_vera_projections_follow_the_seed(lend):
    pairs = []
    for seed in (0, 0, 1):
        with lend() as base:
            tuned = configured("vera", r=4).adapt(base.model, replace(PLAN, seed=seed))
            pairs.append(of_layer(tuned, "self_attn.q_proj").vera_A["default"].clone())
    assert torch.equal(pairs[0], pairs[1]) and not torch.equal(pairs[0], pairs[2])


def test_ia3_scales_keys_and_values_behind_and_the_mlp_before(lend):
    with lend() as base:
        tuned = configured("ia3").adapt(base.model, PLAN)
        names: Any = tuned.targeted_module_names
        adapted = {name.split("model.layers.")[1][2:] for name in names}
        assert adapted == {"self_attn.k_proj", "self_attn.v_proj", "mlp.down_proj"}
        for name, before in (("self_attn.v_proj", False), ("mlp.down_proj", True)):
            layer = of_layer(tuned, name)
            weight = layer.get_base_layer().weight
            scale = layer.ia3_l["default"].data.uniform_(0.5, 2.0).flatten()
            x = torch.randn(3, weight.shape[1])
            by_hand = (x * scale) @ weight.T if before else (x @ weight.T) * scale
            torch.testing.assert_close(layer(x), by_hand)


@pytest.mark.parametrize("kind", ["qwen2", "qwen3", "gemma", "phi", "opt"])
def test_ia3_means_keys_where_pefts_table_means_queries(kind):
    size = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1, "vocab_size": 8}
    model = skeleton(kind, **size, **({"word_embed_proj_dim": 16} if kind == "opt" else {}))
    adapted = {name.rsplit(".", 1)[-1] for name in adapted_modules(configured("ia3"), model)}
    assert {"k_proj", "v_proj"} < adapted and "q_proj" not in adapted and len(adapted) == 3


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        ("llama", {"hidden_size": 16, "num_attention_heads": 2}, 5),
        ("gpt2", {"n_embd": 16, "n_head": 2}, 5),
        ("qwen3", {"hidden_size": 16, "num_attention_heads": 2, "layer_types": None}, 9),
        ("bloom", {"hidden_size": 16, "n_head": 2}, 6),  # one behind the embeddings
    ],
)
def test_norms_of_every_kind_are_found(kind, fields, expected):
    layers = {"n_layer": 2} if kind in ("gpt2", "bloom") else {"num_hidden_layers": 2}
    model = skeleton(kind, vocab_size=8, **fields, **layers)
    found = norms(model)
    assert len(found) == expected
    method = configured("ln_tuning")
    assert set(adapted_modules(method, model)) == set(found)


def test_models_without_norms_or_biases_are_refused(lend):
    bare = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False))
    with pytest.raises(InputError, match="no normalization layer"):
        configured("ln_tuning").check(bare)
    with lend() as base, pytest.raises(InputError, match=r"LlamaForCausalLM has no bias .*GPT-2"):
        configured("bitfit").check(base.model)


def test_oft_rotates_and_does_not_stretch(lend, trial_config, encoded, tmp_path):
    """R stays orthogonal while it is trained: W = W₀R keeps the length of every row's blocks."""
    exact = ["method.neumann_terms=null", "method.block_size=16", "training.learning_rate=5e-3"]
    config = trial_config("method=oft", *exact, "training.warmup_steps=0")
    with lend() as base:
        old = base.model.model.layers[1].mlp.up_proj.weight.detach().clone()
        done = fit(base, config, encoded, tmp_path, steps=5)
        new = done.method.merged(done.model).model.layers[1].mlp.up_proj.weight.detach()
    blocks = [weight.reshape(len(old), -1, 16) for weight in (old, new)]
    assert float((old - new).abs().max()) > 1e-3
    torch.testing.assert_close(blocks[0].norm(dim=-1), blocks[1].norm(dim=-1), rtol=1e-4, atol=1e-5)
    inner = [torch.einsum("ikb,jkb->kij", weight, weight) for weight in blocks]
    torch.testing.assert_close(inner[0], inner[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("size", [3, 48, 256])
def test_oft_blocks_must_divide_every_input(lend, size):
    with lend() as base, pytest.raises(InputError, match=r"block_size=.* all targets: 2, 4, 8, 16"):
        configured("oft", block_size=size).check(base.model)


def test_shira_moves_as_many_places_as_lora_would(lend, trial_config, encoded, tmp_path):
    config = trial_config("method=shira", "method.r=2", "training.learning_rate=5e-3")
    with lend() as base:
        old = {name: p.detach().clone() for name, p in base.model.named_parameters()}
        done = fit(base, config, encoded, tmp_path, steps=4)
        merged = dict(done.method.merged(done.model).named_parameters())
        for name, before in old.items():
            moved = merged[name].detach() != before
            if name.endswith("_proj.weight"):
                most = 2 * sum(before.shape)
                assert 0.9 * most < int(moved.sum()) <= most
                if min(before.shape) > 2:  # of high rank, as its name says
                    change = merged[name].detach() - before
                    assert int(torch.linalg.matrix_rank(change)) > 2 * 2
            else:
                assert not moved.any()
