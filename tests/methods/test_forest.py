"""Groups ranked by a random forest: what it finds, how it is asked, and what is trained then."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from running import adapted, fit, job, take, tensors

from harness import methods
from harness.errors import InputError
from harness.methods.importance.entry_scores import mean_nll
from harness.methods.importance.forest import forest_importance, groups_of
from harness.models.loading.skeleton import load_skeleton
from harness.records import read_record
from harness.trials.run import Workbench, run_trial

SMALL = ("method=forest_importance", "method.masks=12", "method.samples=8", "method.trees=20")


def forest(**changes):
    fields = {
        "groups": "modules",
        "keep_ratio": 0.25,
        "n_groups": None,
        "masks": 12,
        "samples": 8,
        "probe_rate": 1e-4,
        "trees": 20,
    }
    return methods.build({"name": "forest_importance", **fields, **changes})


def test_it_finds_which_groups_lower_the_loss():
    """Δ = −3·z₀ − z₂ + 2·z₄ and noise: the fourth does harm, the others nothing."""
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 2, (128, 6))
    changes = -3 * masks[:, 0] - masks[:, 2] + 2 * masks[:, 4] + rng.normal(0, 0.1, 128)
    found = forest_importance(masks, changes, 50, seed=0)
    assert np.argsort(found)[::-1][:2].tolist() == [0, 2]
    assert np.argmin(found) == 4
    assert max(abs(found[i]) for i in (1, 3, 5)) < 0.02 < found[2] < found[0]
    # The share of the variance that z₀ explains, twice: with it permuted, right and wrong add up.
    variance = (9 + 1 + 4) / 4 + 0.01
    assert found[0] == pytest.approx(2 * (9 / 4) / variance, rel=0.15)
    assert forest_importance(masks, changes, 50, seed=0) == found


def test_groups_of_a_model(model_config):
    skeleton = load_skeleton(model_config)
    modules, layers = groups_of(skeleton, "modules"), groups_of(skeleton, "layers")
    assert [name for name in modules if ".2." in name] == [
        "model.layers.2.self_attn",
        "model.layers.2.mlp",
        "model.layers.2.input_layernorm",
        "model.layers.2.post_attention_layernorm",
    ]
    blocks = [f"model.layers.{n}" for n in range(4)]
    assert list(layers) == ["model.embed_tokens", *blocks, "model.norm"]
    for groups in (modules, layers):
        names = [name for group in groups.values() for name in group]
        assert names == [name for name, _ in skeleton.named_parameters()]


def test_a_mask_is_one_signed_step_of_the_groups_that_are_on(lend, trial_config, encoded):
    """Done again with plain arithmetic; afterwards every bit is where it was."""
    method = forest(masks=3)
    with lend() as base:
        before = tensors(base.model)
        plan = adapted(base, trial_config("method=full"), encoded).plan
        groups = groups_of(base.model, "modules")
        masks, changes = method._probe(base.model, plan, groups)
        after = tensors(base.model)
        assert set(after) == set(before)
        assert all(torch.equal(after[name], before[name]) for name in before)
        batches = list(plan.calibration(8, 4))
        model = copy.deepcopy(base.model).requires_grad_(True)
    batch = batches[0]
    logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    torch.nn.functional.cross_entropy(logits[batch.predict], batch.targets).backward()
    with torch.no_grad():
        at_base = mean_nll(model, batches[1:])
        for on, group in zip(masks[0], groups_of(model, "modules").values(), strict=True):
            for parameter in group.values():
                parameter -= on * 1e-4 * parameter.grad.sign()
        change = mean_nll(model, batches[1:]) - at_base
    assert changes[0] == pytest.approx(change, rel=1e-3)
    assert changes[0] < -1e-3  # downhill
    assert masks.shape == (3, len(groups))


def test_selected_groups_keep_within_their_share():
    sizes = {"a": 50, "b": 30, "c": 15, "d": 5}
    importance = {"a": 0.1, "b": 0.5, "c": -0.2, "d": 0.4}
    by_number = forest(keep_ratio=None, n_groups=2)
    assert by_number.selected(importance, sizes) == ["b", "d"]
    assert forest(keep_ratio=0.5).selected(importance, sizes) == ["b", "d", "c"]  # no room for a
    assert forest(keep_ratio=0.9).selected(importance, sizes) == ["b", "d", "a"]
    assert forest(keep_ratio=1.0).selected(importance, sizes) == ["b", "d", "a", "c"]


def test_only_whole_selected_groups_are_trained(lend, trial_config, encoded, tmp_path):
    config = trial_config(*SMALL, "method.keep_ratio=0.3", "training.weight_decay=0.1")
    with lend() as base:
        before = tensors(base.model)
        done = fit(base, config, encoded, tmp_path, steps=2)
        moved = {n for n, t in tensors(done.model).items() if not torch.equal(t, before[n])}
        groups = groups_of(done.model, "modules")
        importance = done.method.describe(done.model)["importance"]
    sizes = {group: sum(p.numel() for p in held.values()) for group, held in groups.items()}
    chosen = done.method.selected(importance, sizes)
    assert moved == {name for group in chosen for name in groups[group]}
    assert 0 < sum(sizes[group] for group in chosen) <= 0.3 * sum(sizes.values())
    assert set(importance) == set(groups)


def test_the_importances_are_in_the_record(pool, trial_config, tmp_path):
    bench = Workbench("cpu", tmp_path / "cache")
    bench.pool = pool
    config = trial_config(*SMALL, "training.max_steps=2")
    run_trial(job(tmp_path / "trial", bench.cache, config), bench)
    importance = read_record(tmp_path / "trial").provenance["method"]["importance"]
    assert set(importance) == set(groups_of(load_skeleton(config.model), "modules"))
    assert any(value > 0.1 for value in importance.values())


def test_matched_stays_below(model_config):
    skeleton = load_skeleton(model_config)
    total = sum(p.numel() for p in skeleton.parameters())
    assert forest().matched(skeleton, 200_000).keep_ratio == 200_000 / total
    with pytest.raises(InputError, match=r"trainable_parameters=0 .*from 1 to"):
        forest().matched(skeleton, 0)
    with pytest.raises(InputError, match="both determine the size"):
        forest(keep_ratio=None, n_groups=3).matched(skeleton, 1000)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"keep_ratio": 1.5}, r"method.keep_ratio=1.5 .*in \(0, 1\]"),
        ({"n_groups": 3}, "exactly one of them"),
        ({"keep_ratio": None}, "exactly one of them"),
        ({"masks": 1}, "method.masks=1 .*at least 2"),
        ({"samples": 1}, "method.samples=1 .*at least 2"),
        ({"probe_rate": 0.0}, "method.probe_rate=0.0 .*above 0"),
        ({"groups": "blocks"}, "method.groups='blocks' .*modules, layers"),
        ({"keep_ratio": None, "n_groups": 19}, "method.n_groups=19 .*at most 18"),
        ({"keep_ratio": 1e-5}, "method.keep_ratio=1e-05 .*share of the smallest group"),
    ],
)
def test_what_cannot_be_used_is_refused(model_config, changes, says):
    with pytest.raises(InputError, match=says):
        forest(**changes).check(load_skeleton(model_config))


def test_steps_are_made_in_float32_whatever_the_weights_are_in(lend, trial_config, encoded):
    """1e-5 is nothing to most weights in bfloat16: the forest would learn from rounding."""
    with lend() as base:
        plan = adapted(base, trial_config("method=full"), encoded).plan
        model = copy.deepcopy(base.model).bfloat16()
    before = copy.deepcopy(model.state_dict())
    found = forest(probe_rate=1e-5).adapt(model, plan).group_importance
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert sorted(found.values())[-1] > 0.05, "one matters by more than noise"
    message = r"probe_rate=1e-12 .*float32 rounds it away for \d+% of"
    with pytest.raises(InputError, match=message):
        forest(probe_rate=1e-12).adapt(model, plan)


def test_a_step_too_far_is_refused(lend, trial_config, encoded):
    with lend() as base:
        plan = adapted(base, trial_config("method=full"), encoded).plan
        with pytest.raises(InputError, match=r"method.probe_rate=1e.38 .*no number"):
            forest(probe_rate=1e38).adapt(base.model, plan)
        only_one = replace(plan, train=take(encoded, [0]))
        with pytest.raises(InputError, match="at least 2 training sequences"):
            forest().adapt(base.model, only_one)
