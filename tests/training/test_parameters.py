"""Parameters picked by name: frozen ones keep their bits, own rates are what is stepped with."""

from __future__ import annotations

import re

import pytest
import torch
from running import fit

from harness import methods
from harness.errors import InputError
from harness.training.parameters import freeze, with_own_rates


@pytest.fixture
def model():
    torch.manual_seed(0)
    names = {"embed": torch.nn.Linear(2, 2), "body": torch.nn.Linear(2, 2, bias=False)}
    return torch.nn.ModuleDict(names)


def test_the_first_pattern_that_matches_counts(model):
    embed, body = model["embed"], model["body"]
    groups = [
        {"params": [embed.weight, body.weight], "lr": 1.0, "weight_decay": 0.5},
        {"params": [embed.bias], "lr": 0.1},
    ]
    split = with_own_rates(groups, {"bias$": 3.0, "embed": 2.0}, model)
    assert [(g["lr"], [tuple(p.shape) for p in g["params"]]) for g in split] == [
        (1.0, [(2, 2)]),
        (2.0, [(2, 2)]),
        (3.0, [(2,)]),
    ]
    assert split[0]["params"][0] is body.weight
    assert [g.get("weight_decay") for g in split] == [0.5, 0.5, None]
    assert with_own_rates(groups, None, model) == groups


def test_a_pattern_of_nothing_is_named(model):
    groups = [{"params": list(model.parameters()), "lr": 1.0}]
    with pytest.raises(InputError, match=r"learning_rate_of: 'head' matches no .* embed\.weight"):
        with_own_rates(groups, {"head": 1.0}, model)
    model["body"].requires_grad_(False)
    with pytest.raises(InputError, match=r"freeze_layers: 'body' matches no parameter"):
        freeze(model, ["body"])
    with pytest.raises(InputError, match=r"freeze_layers=\['.'\] leaves nothing to train"):
        freeze(model, ["."])


def test_own_rates_are_those_of_the_step(lend, trial_config, encoded, tmp_path):
    """Plain SGD: twice the rate moves twice as far; a tenth of it a tenth."""
    config = trial_config("method=full", "training.warmup_steps=0")
    moved = {}
    for name, rates in (("one", None), ("own", {"embed": 2.0, r"layers\.0\.": 0.1})):
        with lend() as base:
            before = {n: p.detach().clone() for n, p in base.model.named_parameters()}
            done = fit(
                *(base, config, encoded, tmp_path / name, 1),
                **{"optimizer": "sgd", "learning_rate": 1.0, "learning_rate_of": rates},
            )
            after = dict(done.model.named_parameters())
            moved[name] = {n: (after[n] - before[n]).detach() for n in before}
    for name, delta in moved["one"].items():
        factor = 2.0 if "embed" in name else 0.1 if "layers.0." in name else 1.0
        assert torch.allclose(moved["own"][name], factor * delta, atol=1e-6), name


@pytest.mark.parametrize("name", ["ulmfit", "adalora"])
def test_methods_that_decide_themselves_refuse(trial_config, name):
    with pytest.raises(InputError, match=rf"freeze_layers=\['x'\] cannot be used: method={name}"):
        trial_config(f"method={name}", "training.freeze_layers=[x]")


@pytest.mark.parametrize("name", ["full", "dora", "vera", "shira", "random_mask", "p_tuning"])
def test_what_is_frozen_keeps_its_bits(lend, trial_config, encoded, tmp_path, monkeypatch, name):
    """Whatever the method trains it by; the rest goes on being trained."""
    config = trial_config(f"method={name}")
    cls, kept = type(methods.build(config.method)), {}
    real = cls.adapt

    def half_frozen(self, model, plan):
        tuned = real(self, model, plan)
        trained = [n for n, p in tuned.named_parameters() if p.requires_grad]
        freeze(tuned, [re.escape(n) + "$" for n in trained[: len(trained) // 2]])
        kept.update({n: p.detach().clone() for n, p in tuned.named_parameters() if n in trained})
        return tuned

    monkeypatch.setattr(cls, "adapt", half_frozen)
    with lend() as base:
        done = fit(base, config, encoded, tmp_path, steps=2, learning_rate=1e-2)
        after = dict(done.model.named_parameters())
        moved = {n for n, before in kept.items() if not torch.equal(after[n], before)}
    assert not moved & set(list(kept)[: len(kept) // 2])
    assert moved
