"""Properties of LoRA's relatives, against other implementations and linear algebra."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from running import adapted, fit, logits_of, take
from skeletons import PLAN, configured

from harness import methods
from harness.errors import InputError
from harness.methods.low_rank import lora, lora_starts, remembered_svd
from harness.methods.low_rank.scaling import resolve_alpha
from harness.models.quantization import Quantization

IDS = torch.arange(3, 43).reshape(2, 20)


def layer_of(tuned, name="self_attn.q_proj"):
    return tuned.get_base_model().get_submodule(f"model.layers.1.{name}")


def factors(layer):
    a, b = layer.lora_A["default"].weight.detach(), layer.lora_B["default"].weight.detach()
    return a, b, layer.scaling["default"]


# -- α


@pytest.mark.parametrize(
    ("alpha", "r", "value"),
    [("2r", 16, 32), ("r", 8, 8), ("0.5r", 8, 4), ("1.5 r", 2, 3), (".5r", 4, 2), (32, 4, 32)],
)
def test_alpha_is_a_number_or_a_multiple_of_the_rank(alpha, r, value):
    assert resolve_alpha(alpha, r) == value


@pytest.mark.parametrize("alpha", ["2", "r2", "2rr", "-1r", "0r", "", "two r", "1e1r", 0, -3.0])
@pytest.mark.parametrize("method", ["lora", "adalora"])
def test_other_alphas_are_refused(method, alpha):
    with pytest.raises(InputError, match=r"method\.lora_alpha=.* multiple of the rank"):
        configured(method, lora_alpha=alpha)


@pytest.mark.parametrize("r", [1, 8, 64])
def test_scale_is_two_at_every_rank(lend, r):
    with lend() as base:
        assert layer_of(configured("lora", r=r).adapt(base.model, PLAN)).scaling["default"] == 2.0
    with lend() as base:  # peft divides by the initial rank plus 1e-5
        layer = layer_of(configured("adalora", target_r=r).adapt(base.model, PLAN))
        initial = int(layer.ranknum["default"])
        assert initial > r and layer.scaling["default"] / initial == 2.0


# -- LoRA+ and LoRA-FA


def test_lora_plus_has_the_rates_of_pefts_own(lend):
    from peft.optimizers import create_loraplus_optimizer

    with lend() as base:
        method = configured("lora_plus", r=2, lora_plus_ratio=16, use_dora=True)
        tuned = method.adapt(base.model, PLAN)
        theirs = create_loraplus_optimizer(
            tuned, torch.optim.AdamW, lr=1e-3, loraplus_lr_ratio=16
        ).param_groups
        ours = method.parameter_groups(tuned, 1e-3, PLAN)
        rates = [
            {id(p): group["lr"] for group in g for p in group["params"]} for g in (ours, theirs)
        ]
    assert rates[0] == rates[1]
    assert sorted(set(rates[0].values())) == [1e-3, 16e-3]


def test_a_ratio_of_one_is_plain_lora(lend, trial_config, encoded, tmp_path):
    losses = [
        fit_losses(lend, trial_config, encoded, tmp_path / str(n), name, *more)
        for n, (name, more) in enumerate(
            [("lora", ()), ("lora_plus", ("method.lora_plus_ratio=1",)), ("lora_plus", ())]
        )
    ]
    assert losses[0] == losses[1] != losses[2]


def fit_losses(lend, trial_config, encoded, folder, name, *more):
    config = trial_config(f"method={name}", "training.learning_rate=1e-3", "method.r=2", *more)
    with lend() as base:
        return fit(base, config, encoded, folder, steps=3).losses


def test_lora_fa_leaves_a_alone_whatever_the_decay(lend, trial_config, encoded, tmp_path):
    config = trial_config("method=lora_fa", "training.weight_decay=0.1")
    with lend() as base:
        start = factors(layer_of(adapted(base, config).model))[0].clone()
    with lend() as base:
        done = fit(base, config, encoded, tmp_path)
        a, b, _ = factors(layer_of(done.model))
    assert torch.equal(a, start) and float(b.abs().max()) > 0


# -- starts


def test_pissa_takes_the_largest_singular_values(lend):
    with lend() as base:
        weight = base.model.model.layers[1].self_attn.q_proj.weight.detach().clone()
        layer = layer_of(configured("pissa", r=8).adapt(base.model, PLAN))
        a, b, scale = factors(layer)
        rest = layer.get_base_layer().weight.detach()
    values = torch.linalg.svdvals(weight)
    torch.testing.assert_close(torch.linalg.svdvals(rest)[:-8], values[8:])
    torch.testing.assert_close(torch.linalg.svdvals(scale * b @ a)[:8], values[:8])
    torch.testing.assert_close(b.T @ b, a @ a.T)  # each has the roots of the values


def test_olora_begins_with_orthogonal_columns(lend):
    with lend() as base:
        weight = base.model.model.layers[1].self_attn.q_proj.weight.detach().clone()
        a, b, _ = factors(layer_of(configured("olora", r=8).adapt(base.model, PLAN)))
    torch.testing.assert_close(b.T @ b, torch.eye(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(b.T @ weight, a, atol=1e-4, rtol=1e-4)  # R = QᵀW


def test_gaussian_start_has_the_papers_spread(lend):
    with lend() as base:
        a, b, _ = factors(
            layer_of(configured("lora", r=64, init="gaussian").adapt(base.model, PLAN))
        )
    assert float(a.std()) == pytest.approx(1 / 64, rel=0.05) and float(b.abs().max()) == 0
    assert float(a.abs().max()) > 3 / 64  # no uniform one


@pytest.mark.parametrize("method", ["pissa", "olora"])
def test_without_the_adapter_it_is_not_the_base(lend, method):
    """PiSSA and OLoRA move the base: what is left of the base cannot stand for it."""
    with lend() as base:
        before = logits_of(base.model, IDS)
        tuned = configured(method).adapt(base.model, PLAN)
        with tuned.disable_adapter():
            without = logits_of(tuned, IDS)
    assert float((without - before).abs().max()) > 0.1


@pytest.mark.parametrize(
    "fields",
    [
        {"init": "pissa", "use_rslora": True},
        {"init": "olora", "use_dora": True, "target_modules": ["v_proj", "down_proj"]},
        {"init": "pissa", "freeze_a": True},
    ],
    ids=str,
)
def test_saved_for_the_base_as_it_was_with_every_other_field(
    lend, trial_config, encoded, tmp_path, fields
):
    config = trial_config("method=pissa", "training.learning_rate=1e-3", "method.r=4")
    config = replace(config, method={**config.method, **fields})
    with lend() as base:
        done = fit(base, config, encoded, tmp_path, steps=3)
        expected = logits_of(done.model, IDS)
        done.method.save(done.model, tmp_path / "saved")
    with lend() as base:
        before = logits_of(base.model, IDS)
        again = logits_of(done.method.load(base.model, tmp_path / "saved"), IDS)
    assert float((expected - before).abs().max()) > 0.1
    assert float((again - expected).abs().max()) < 1e-5 * float(expected.abs().max())


def test_eva_begins_in_the_directions_of_the_inputs(lend, trial_config, encoded):
    """A spans what an exact decomposition of the layer's inputs gives; the ranks are shared out."""
    config = trial_config("method=eva", "method.r=4", "method.eva_sequences=8")
    config = replace(config, method={**config.method, "target_modules": ["o_proj", "down_proj"]})
    sequences = take(encoded, list(range(8)))
    with lend() as base:
        done = adapted(base, config, sequences)
        ranks, begun = {}, {}
        for name, module in done.model.get_base_model().named_modules():
            if hasattr(module, "lora_A"):
                a, b, _ = factors(module)
                ranks[name], begun[name] = a.shape[0], a
                assert float(b.abs().max()) == 0
    with lend() as base:
        inputs = {name: [] for name in begun}
        for name in begun:
            base.model.get_submodule(name).register_forward_hook(
                lambda m, x, y, name=name: inputs[name].append(x[0].detach())
            )
        for batch in done.plan.calibration(8, 8):
            kept = batch.attention_mask.bool()
            base.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
            inputs = {name: [x[kept] for x in held] for name, held in inputs.items()}
    assert sum(ranks.values()) == 4 * len(ranks)
    assert len(set(ranks.values())) > 1
    for name, a in begun.items():
        x = torch.cat(inputs[name])
        exact = torch.linalg.svd(x - x.mean(0), full_matrices=False).Vh[: len(a)]
        if len(a):
            assert float((a @ exact.T).square().sum()) > 0.99 * len(a), name


@pytest.mark.parametrize("name", ["pissa", "loftq"])
def test_a_base_is_decomposed_once(lend, monkeypatch, name):
    """To the bit what a full decomposition gives, also at a smaller rank; peft's own for PiSSA."""
    calls, original = [], torch.linalg.svd

    def counted(*arguments, **options):
        calls.append(1)
        return original(*arguments, **options)

    def whole(error, rank):
        left, values, right = counted(error, full_matrices=False)
        return left[:, :rank], values[:rank], right[:rank]

    def started(r, forgetful=False):
        monkeypatch.setattr(torch.linalg, "svd", counted)
        calls.clear()
        monkeypatch.setattr(remembered_svd, "_kept", {} if forgetful else kept)
        if forgetful:  # as the library calls it
            monkeypatch.setattr(lora, "remembering", lambda rank: nullcontext())
            monkeypatch.setattr(lora_starts, "svd", whole)
        method = configured(name, r=r)
        with lend(method.base_quantization) as base:
            torch.manual_seed(0)
            tuned = method.adapt(base.model, PLAN)
            state = {key: tensor.clone() for key, tensor in tuned.state_dict().items()}
        monkeypatch.undo()
        return state, len(calls)

    kept = {}
    n_layers = started(8)[1]
    again, smaller = started(8), started(3)
    assert n_layers > 8 and again[1] == smaller[1] == 0
    for r, (state, _) in ((8, again), (3, smaller)):
        alone, n = started(r, forgetful=True)
        assert n == n_layers and state.keys() == alone.keys()
        assert all(torch.equal(state[key], alone[key]) for key in alone)


def test_loftq_takes_back_what_quantization_rounded_off(lend):
    """The best that rank 8 can do (Eckart and Young), and so an answer nearer to the base's."""
    with lend() as base:
        full = logits_of(base.model, IDS)
        weight = base.model.model.layers[1].self_attn.q_proj.weight.detach().clone()
    method = configured("loftq", r=8)
    with lend(method.base_quantization) as base:
        rounded = logits_of(base.model, IDS)
        tuned = method.adapt(base.model, PLAN)
        layer = layer_of(tuned)
        a, b, scale = factors(layer)
        from peft.utils.integrations import dequantize_module_weight

        lost = weight - dequantize_module_weight(layer.get_base_layer())
        begun = logits_of(tuned, IDS)
    best = torch.linalg.svdvals(lost)[8:].square().sum().sqrt()
    assert float((lost - scale * b @ a).norm()) == pytest.approx(float(best), rel=1e-4)
    assert float((begun - full).norm()) < 0.9 * float((rounded - full).norm())


def test_starts_and_bases_that_do_not_go_together():
    with pytest.raises(InputError, match=r"init='loftq' makes up .* use method=loftq"):
        configured("lora", init="loftq")
    for init in ("pissa", "olora"):
        assert configured(init).trains_base_weights
        with pytest.raises(InputError, match=f"init='{init}' cannot be used: .* quantized"):
            configured("qlora", init=init)
    assert configured("loftq").base_quantization == Quantization("nf4", True)
    assert not configured("eva").trains_base_weights


@pytest.mark.parametrize(
    ("method", "fields", "message"),
    [
        ("eva", {"r": 80}, r"r × method\.eva_rho=160\.0 .* at most 128"),
        ("pissa", {"r": 129}, r"method\.r=129 .* at most 128"),
        ("lora_plus", {"lora_plus_ratio": 0.5}, r"method\.lora_plus_ratio=0\.5 .* at least 1"),
        ("eva", {"eva_rho": 0.5}, r"method\.eva_rho=0\.5 .* at least 1"),
        ("lora", {"init": "pisa"}, r"method\.init='pisa' .* one of default, gaussian"),
    ],
)
def test_values_that_cannot_be_used(lend, method, fields, message):
    with lend() as base, pytest.raises(InputError, match=message):
        configured(method, **fields).check(base.model)


def test_eva_needs_as_many_tokens_as_directions(lend, trial_config, encoded):
    config = trial_config("method=eva", "method.r=64")
    with lend() as base, pytest.raises(InputError, match=r"128 directions need as many tokens"):
        method = methods.fitted(config.method, base.model)
        method.adapt(base.model, adapted_plan(base, encoded))


def adapted_plan(base, encoded):
    return replace(PLAN, tokenizer=base.tokenizer, train=take(encoded, [0]))
