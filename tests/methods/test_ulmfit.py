"""Discriminative rates and gradual unfreezing on the real model; what is frozen does not move."""

from __future__ import annotations

import pytest
import torch
from running import adapted, fit
from skeletons import PLAN, configured, skeleton

from harness.methods.base import AdaptContext
from harness.methods.ulmfit import (
    chain_thawed,
    default_interval,
    discriminative_rates,
    gradually,
    layer_groups,
)
from harness.models.classifier import add_class_head, concat_pool
from harness.training.parameters import percent_at_rate


def test_discriminative_rates():
    expected = [0.01, 0.003846153846, 0.001479289941, 0.000568957670, 0.000218829873]
    assert discriminative_rates(0.01, 2.6, 5) == pytest.approx(expected, rel=1e-8)


def test_groups_thaw_one_an_epoch():
    # Counted from the bottom, 4 groups, one epoch each: [3], [2,3], [1,2,3], then all.
    sets = [sorted(3 - depth for depth in gradually(epoch, 4)) for epoch in range(6)]
    assert sets == [[3], [2, 3], [1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3]]


def test_chain_thaw_trains_one_at_a_time():
    # Counted from the bottom likewise: the new layer, each other from the first on, then all.
    sets = [sorted(3 - depth for depth in chain_thawed(epoch, 4)) for epoch in range(6)]
    assert sets == [[3], [0], [1], [2], [0, 1, 2, 3], [0, 1, 2, 3]]
    assert [list(chain_thawed(epoch, 1)) for epoch in range(3)] == [[0], [0], [0]]


@pytest.mark.parametrize(("per_epoch", "total", "n"), [(100, 1000, 6), (100, 60, 6), (3, 4, 6)])
def test_interval_is_an_epoch_but_all_thaw_by_half_time(per_epoch, total, n):
    every = default_interval(AdaptContext(total, per_epoch, None, None, 0), n)
    assert every >= 1
    if per_epoch * 2 * n <= total:
        assert every == per_epoch
    elif total >= 2 * n:
        assert (
            len(gradually(total // 2 // every, n)) == len(chain_thawed(total // 2 // every, n)) == n
        )


def test_layer_groups_of_the_built_in_model(lend):
    with lend() as base:
        names = {id(p): name for name, p in base.model.named_parameters()}
        groups = [sorted(names[id(p)] for p in group) for group in layer_groups(base.model)]
        together = [id(p) for group in layer_groups(base.model) for p in group]
        assert sorted(together) == sorted(names)  # each parameter once, tied ones too
    assert len(groups) == 5  # four blocks, the head with the last one, and the embeddings
    assert "model.norm.weight" in groups[0]
    for depth, block in enumerate((3, 2, 1, 0)):
        inside = [name for name in groups[depth] if name.split("model.")[-1] != "norm.weight"]
        assert all(name.startswith(f"model.layers.{block}.") for name in inside)
        assert len(inside) == 9
    assert groups[-1] == ["model.embed_tokens.weight"]


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox", "opt"])
def test_layer_groups_of_other_architectures(kind):
    from transformers import AutoConfig, AutoModelForCausalLM

    small = {
        "gpt2": {"n_layer": 3, "n_embd": 8, "n_head": 2},
        "gpt_neox": {"num_hidden_layers": 3, "hidden_size": 8, "num_attention_heads": 2},
        "opt": {
            "num_hidden_layers": 3,
            "hidden_size": 8,
            "num_attention_heads": 2,
            "word_embed_proj_dim": 8,
        },
    }[kind]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **small))
    names = {id(p): name for name, p in model.named_parameters()}
    groups = [{names[id(p)] for p in group} for group in layer_groups(model)]
    assert sum(map(len, groups)) == len(names)
    assert len(groups) == 4
    for block, group in zip((2, 1, 0), groups, strict=False):
        assert any(f".{block}." in name for name in group)
        assert not any(f".{other}." in name for name in group for other in {0, 1, 2} - {block})
    assert any("embed" in name or "wte" in name for name in groups[-1])


QWEN3 = {  # Qwen3-0.6B
    "vocab_size": 151936,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "tie_word_embeddings": True,
}


@pytest.mark.parametrize(("blocks", "sizes"), [(28, [7, 7, 7, 7]), (6, [2, 2, 1, 1]), (2, [1, 1])])
def test_rates_span_the_papers_ratio_at_any_depth(blocks, sizes):
    """The paper's model has four layers, 2.6 from one to the next; ours has as many groups."""
    method = configured("ulmfit")
    model = skeleton("qwen3", **QWEN3, num_hidden_layers=blocks)
    groups = method.parameter_groups(method.adapt(model, PLAN), 5e-5, PLAN)
    names = {id(p): name for name, p in model.named_parameters()}
    found = [{names[id(p)].split(".")[2] for p in group["params"]} for group in groups[:-1]]
    found[0].discard("weight")  # of the final norm
    assert [len(group) for group in found] == sizes
    order = [int(block) for group in found for block in sorted(group, key=int, reverse=True)]
    assert order == list(range(blocks))[::-1]
    assert [names[id(p)] for p in groups[-1]["params"]] == ["model.embed_tokens.weight"]
    rates = [group["lr"] for group in groups]
    assert rates == pytest.approx(discriminative_rates(5e-5, 2.6, len(sizes) + 1))
    assert rates[0] / rates[-2] == pytest.approx(2.6 ** (len(sizes) - 1))
    assert percent_at_rate(groups, 5e-5) == 100


def test_a_group_for_each_of_28_blocks_leaves_most_parameters_where_they_were():
    method = configured("ulmfit", block_groups=None)
    model = skeleton("qwen3", **QWEN3, num_hidden_layers=28)
    groups = method.parameter_groups(method.adapt(model, PLAN), 5e-5, PLAN)
    assert len(groups) == 29
    assert groups[14]["lr"] == pytest.approx(7.8e-11, rel=0.01)
    assert percent_at_rate(groups, 5e-5) == pytest.approx(13.2, abs=0.05)


def test_deep_models_thaw_by_groups():
    method = configured("ulmfit", unfreeze_every_steps=3)
    model = skeleton("qwen3", **QWEN3, num_hidden_layers=28)
    method.adapt(model, PLAN)
    trained = []
    for step in range(15):
        method.before_step(model, step, PLAN)
        blocks = [all(p.requires_grad for p in b.parameters()) for b in model.model.layers]
        assert blocks == sorted(blocks)  # the upper ones first
        trained.append(sum(blocks) + model.model.embed_tokens.weight.requires_grad)
    assert trained == [7] * 3 + [14] * 3 + [21] * 3 + [28] * 3 + [29] * 3
    assert method.comparable_from(model, PLAN) == 12


def test_layers_to_train_are_counted_as_blocks():
    """The top ten of 28 blocks; of them the groups are made."""
    method = configured("ulmfit", layer_groups=10)
    model = skeleton("qwen3", **QWEN3, num_hidden_layers=28)
    groups = method.parameter_groups(method.adapt(model, PLAN), 1.0, PLAN)
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    assert {id(p) for group in groups for p in group["params"]} == trained
    assert [p.requires_grad for b in model.model.layers for p in b.parameters()].count(True) == 110
    assert [len(group["params"]) for group in groups] == [34, 33, 22, 22]


SCHEDULES = {
    "gradual": lambda phase: set(gradually(phase, 5)),
    "chain_thaw": lambda phase: set(chain_thawed(phase, 5)),
    "last": lambda phase: {0},
    "full": lambda phase: {0, 1, 2, 3, 4},
}


@pytest.mark.parametrize(
    ("unfreezing", "optimizer"),
    [
        ("gradual", "adamw"),
        ("gradual", "adam"),
        ("gradual", "adafactor"),
        ("gradual", "adamw_8bit"),
        ("chain_thaw", "adamw"),
        ("last", "adamw"),
        ("full", "adamw"),
    ],
)
def test_each_step_moves_exactly_what_is_thawed(
    lend, trial_config, encoded, tmp_path, unfreezing, optimizer
):
    """Weight decay and momentum must not reach a group before its time, nor after it."""
    config = trial_config(
        "method=ulmfit", f"method.unfreezing={unfreezing}", "method.unfreeze_every_steps=2"
    )
    with lend() as base:
        groups = layer_groups(base.model)
        before = [[p.detach().clone() for p in group] for group in groups]
        seen = []

        def watch(done, row):
            moved = [
                [not torch.equal(p, old) for p, old in zip(group, olds, strict=True)]
                for group, olds in zip(groups, before, strict=True)
            ]
            for group, olds in zip(groups, before, strict=True):
                for parameter, old in zip(group, olds, strict=True):
                    old.copy_(parameter.detach())
            thawed = [all(p.requires_grad for p in group) for group in groups]
            frozen = [not any(p.requires_grad for p in group) for group in groups]
            seen.append((thawed, frozen, moved))

        fit(
            base,
            config,
            encoded,
            tmp_path,
            steps=13,
            on_step=watch,
            optimizer=optimizer,
            weight_decay=0.1,
            learning_rate=1e-3,
            warmup_steps=0,
        )
        from_step = adapted(base, config).method.comparable_from(base.model, None)
    everything = [all(thawed) for thawed, _, _ in seen]
    assert from_step == (everything.index(True) if unfreezing != "last" else 0), "see base.py"
    for step, (thawed, frozen, moved) in enumerate(seen):
        now = SCHEDULES[unfreezing](step // 2)
        for depth in range(5):
            assert thawed[depth] == (depth in now), step
            assert frozen[depth] == (depth not in now), step
            assert all(moved[depth]) if depth in now else not any(moved[depth]), (step, depth)


def test_a_classifier_on_top_is_the_top_group(lend, trial_config):
    config = trial_config("method=ulmfit", "method.layer_groups=2")
    with lend() as base:
        done = adapted(base, config)
        add_class_head(done.model, 3)
        names = {id(p): name for name, p in done.model.named_parameters()}
        groups = [[names[id(p)] for p in group] for group in layer_groups(done.model)]
        assert len(groups) == 6
        assert len(groups[0]) == 8 and all(name.startswith("class_head.") for name in groups[0])
        assert "model.norm.weight" in groups[1]
        trained = done.method.parameter_groups(done.model, 0.01, done.plan)
        assert [len(group["params"]) for group in trained] == [8, 10, 9]  # the head, and two


def test_rates_fall_with_depth_and_follow_the_schedule(lend, trial_config):
    config = trial_config("method=ulmfit")
    with lend() as base:
        done = adapted(base, config)
        groups = done.method.parameter_groups(done.model, 0.01, done.plan)
    assert [group["lr"] for group in groups] == pytest.approx(discriminative_rates(0.01, 2.6, 5))
    config = trial_config(
        "method=ulmfit", "method.unfreezing=chain_thaw", "method.discriminative_factor=1"
    )
    with lend() as base:
        done = adapted(base, config)
        groups = done.method.parameter_groups(done.model, 0.001, done.plan)
    assert [group["lr"] for group in groups] == pytest.approx([0.001] + 4 * [0.0001])


def test_without_its_switches_it_is_full_fine_tuning(lend, trial_config, encoded, tmp_path):
    off = ["method.unfreezing=full", "method.discriminative_factor=1"]
    same = ["training.schedule=linear", "training.learning_rate=1e-3", "training.warmup_steps=0"]
    with lend() as base:
        full = fit(base, trial_config("method=full", *same), encoded, tmp_path / "full")
    with lend() as base:
        config = trial_config("method=ulmfit", *off, *same)
        ulmfit = fit(base, config, encoded, tmp_path / "ulmfit")
    assert ulmfit.losses == pytest.approx(full.losses, rel=1e-5)


@pytest.mark.parametrize("side", ["none", "right", "left"])
def test_concat_pooling_is_last_max_mean_whatever_the_padding(side):
    """Last, maximum and mean of three states with two entries, by hand."""
    rows = [[1.0, 2.0], [3.0, -1.0], [5.0, 0.0]]
    mask = [1, 1, 1]
    if side == "right":
        rows, mask = [*rows, [99.0, 99.0]], [*mask, 0]
    if side == "left":
        rows, mask = [[99.0, 99.0], *rows], [0, *mask]
    pooled = concat_pool(torch.tensor([rows]), torch.tensor([mask]))
    torch.testing.assert_close(pooled, torch.tensor([[5.0, 0.0, 5.0, 2.0, 3.0, 1 / 3]]))
