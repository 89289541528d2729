"""Only chosen entries are trained: the rest keeps its bits, and the optimizer no state for it."""

from __future__ import annotations

import copy

import pytest
import torch
from running import adapted, fit, tensors
from safetensors.torch import load_file
from torch import nn

from harness.methods.base import AdaptContext
from harness.methods.importance.importance_mask import RandomMask
from harness.models.logits import logits_at
from harness.models.weights import masked_entries
from harness.training.loop import Interrupted
from harness.training.optimizers import build_optimizer
from harness.trials.cost import final_sizes
from harness.trials.results.artifacts import save_adapter


def random_mask(**changes):
    return RandomMask(**{"ranked": "model", "keep_ratio": 0.1, "like_lora_r": None, **changes})


def plan(seed=0):
    return AdaptContext(10, 10, None, None, seed)


def linear(weights):
    layer = nn.Linear(weights.shape[1], weights.shape[0], bias=False)
    layer.weight.data.copy_(weights)
    return layer


def ten_steps(layer, parameters, after):
    optimizer = torch.optim.AdamW(parameters, lr=1e-2, weight_decay=0.1)
    for step in range(10):
        optimizer.zero_grad()
        layer(torch.ones(1, 4)).square().sum().backward()
        after(step)
        optimizer.step()
        masked_entries.write(layer)


def test_frozen_entries_do_not_drift_as_they_would_with_masked_gradients():
    """With gradients masked, weight decay takes 1.0 to 0.9900450 in ten steps."""
    naive = linear(torch.ones(2, 4))
    keep = torch.zeros(2, 4)
    keep[0, 1] = 1
    ten_steps(naive, [naive.weight], lambda step: naive.weight.grad.mul_(keep))
    assert naive.weight[1, 3].item() == pytest.approx(0.9900450, abs=1e-7)

    ours = linear(torch.ones(2, 4))
    masked_entries.attach(ours, {"weight": torch.tensor([1])})
    ten_steps(ours, [p for p in ours.parameters() if p.requires_grad], lambda step: None)
    frozen = ours.weight.flatten()[[0, 2, 3, 4, 5, 6, 7]]
    assert torch.equal(frozen, torch.ones(7))
    assert ours.weight[0, 1].item() == pytest.approx(naive.weight[0, 1].item(), abs=1e-3)
    assert ours.weight[0, 1].item() < 0.95


def test_in_a_real_run_what_is_not_chosen_has_the_bases_bits(lend, trial_config, encoded, tmp_path):
    """The real loop, with weight decay, momentum and clipping."""
    config = trial_config(
        "method.samples=16",
        "method=importance_mask",
        "method.keep_ratio=0.01",
        "training.weight_decay=0.1",
        "training.learning_rate=3e-3",
    )
    with lend() as base:
        before = tensors(base.model)
        done = fit(base, config, encoded, tmp_path, steps=4)
        at = masked_entries.places(done.model)
        n = sum(parameter.numel() for parameter in base.model.parameters())
        assert sum(map(len, at.values())) == round(0.01 * (n - sum(map(len, at.values()))))
        moved = 0
        for name, tensor in masked_entries.base_state(done.model).items():
            if name not in before:  # the output embeddings, tied
                continue
            changed = tensor != before[name]
            chosen = torch.zeros(tensor.numel(), dtype=torch.bool)
            chosen[at.get(name, torch.tensor([], dtype=torch.int32))] = True
            assert not changed.flatten()[~chosen].any(), name
            moved += int(changed.sum())
        assert moved > 0.99 * sum(map(len, at.values()))


ALL = ["method=random_mask", "method.keep_ratio=1"]


@pytest.mark.parametrize(
    ("ranked", "training"),
    [
        ("model", {}),
        ("tensor", {"precision": "bf16", "optimizer": "sgd"}),
        ("model", {"gradient_checkpointing": True, "gradient_accumulation_steps": 2}),
    ],
    ids=["adamw", "sgd in bf16", "checkpointing and accumulation"],
)
def test_with_everything_chosen_it_is_full_fine_tuning(
    lend, trial_config, encoded, tmp_path, ranked, training
):
    """Bit for bit: losses, gradient norms and weights."""
    rate = "training.learning_rate=1e-3"
    settings = {"precision": "no", "weight_decay": 0.1, "label_smoothing": 0.1, **training}
    ran = []
    for overrides in (["method=full"], [*ALL, f"method.ranked={ranked}"]):
        with lend() as base:
            config = trial_config(*overrides, rate)
            folder = tmp_path / overrides[0]
            done = fit(base, config, encoded, folder, steps=2, **settings)
            rows = [(row["loss"], row["grad_norm"]) for row in done.rows]
            state = {n: t.clone() for n, t in masked_entries.base_state(done.model).items()}
            ran.append((rows, state))
    (rows, state), (ours, our_state) = ran
    assert ours == rows
    assert set(our_state) == set(state)
    assert all(torch.equal(our_state[name], state[name]) for name in state)


def loss_of(model, batch):
    logits = logits_at(model, batch.input_ids, batch.attention_mask, batch.predict)
    return nn.functional.cross_entropy(logits, batch.targets)


def test_gradients_are_those_of_full_fine_tuning_at_the_chosen_places(lend, trial_config, encoded):
    """The tied embeddings get the gradients of both their uses."""
    with lend() as base:
        start = adapted(base, trial_config("method=full"), encoded)
        batch = next(start.plan.calibration(8, 8))
        loss_of(start.model, batch).backward()
        dense = {name: p.grad for name, p in start.model.named_parameters()}
        start.model.zero_grad()
        random_mask().adapt(start.model, plan())
        loss_of(start.model, batch).backward()
        seen = set()
        for name, tensor, mask in masked_entries.masked_tensors(start.model):
            assert torch.equal(mask.values.grad, dense[name].flatten()[mask.index]), name
            assert tensor.grad is None
            seen.add(name)
        assert seen == set(dense)


def test_optimizer_state_is_that_of_the_chosen_entries_only(lend, trial_config, encoded):
    """Two moments of 4 bytes an entry and a step count a tensor, whatever the model's size."""
    for ratio in (0.01, 0.1):
        with lend() as base:
            config = trial_config("method=random_mask", f"method.keep_ratio={ratio}")
            start = adapted(base, config, encoded)
            groups = start.method.parameter_groups(start.model, 1e-3, start.plan)
            optimizer, _ = build_optimizer(config.training, groups, "cpu")
            loss_of(start.model, next(start.plan.calibration(4, 4))).backward()
            optimizer.step()
            state = [t for of_one in optimizer.state.values() for t in of_one.values()]
            k = round(ratio * sum(t.numel() for _, t in base_shapes(base.model)))
            assert sum(t.numel() * t.element_size() for t in state) == 8 * k + 4 * len(
                optimizer.state
            )
            assert (
                sum(g.numel() for p in start.model.parameters() if (g := p.grad) is not None) == k
            )


def base_shapes(model):
    named = model.named_parameters()
    return [(n, p) for n, p in named if not n.endswith(".0.values")]


def test_the_dense_tensor_is_not_copied():
    layer = linear(torch.randn(3, 4))
    at = layer.weight.data_ptr()
    masked_entries.attach(layer, {"weight": torch.tensor([0, 5])})
    assert layer.weight.data_ptr() == at
    assert [n for n, p in layer.named_parameters() if p.requires_grad] == [
        "parametrizations.weight.0.values"
    ]


def test_half_precision_weights_are_trained_in_32_bits():
    """A hundred steps of 1e-3 reach 0.9, although 1 − 1e-3 rounds to 1 in bfloat16."""
    assert torch.tensor(1.0, dtype=torch.bfloat16) - 1e-3 == 1
    layer = linear(torch.ones(2, 2)).bfloat16()
    masked_entries.attach(layer, {"weight": torch.tensor([2])})
    (values,) = (p for p in layer.parameters() if p.requires_grad)
    optimizer = torch.optim.SGD([values], lr=1e-3)
    for _ in range(100):
        optimizer.zero_grad()
        layer(torch.ones(1, 2, dtype=torch.bfloat16)).sum().backward()
        optimizer.step()
        masked_entries.write(layer)
    assert values.dtype == torch.float32
    assert values.item() == pytest.approx(0.9, abs=1e-5)
    assert layer.weight.dtype == torch.bfloat16
    assert layer.weight.flatten().tolist() == [1, 1, values.bfloat16().item(), 1]


def test_taken_off_it_is_the_base_again(lend):
    with lend() as base:
        model = copy.deepcopy(base.model)
        names = [name for name, _ in model.named_parameters()]
        kinds = [type(module) for module in model.modules()]
        random_mask().adapt(model, plan())
        assert [type(module) for module in model.modules()] != kinds
        masked_entries.take_off(model)
        assert [name for name, _ in model.named_parameters()] == names
        assert [type(module) for module in model.modules()] == kinds
        assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_what_is_saved_beside_the_model_is_what_differs_from_the_base(
    lend, trial_config, encoded, tmp_path
):
    config = trial_config("method=random_mask", "method.keep_ratio=0.02")
    with lend() as base:
        before = tensors(base.model)
        done = fit(base, config, encoded, tmp_path / "c", steps=2)
        trained = {n for n, p in done.model.named_parameters() if p.requires_grad}
        sizes = final_sizes(done.model, trained)
        save_adapter(tmp_path / "a", done.method, done.model, base.tokenizer)
    whole = load_file(tmp_path / "a" / "model.safetensors")
    mask = load_file(tmp_path / "a" / masked_entries.FILE)
    assert set(whole) <= set(before)
    for name in whole:
        tensor = before[name]
        if f"{name}.index" in mask:  # by chance a norm may have none
            tensor.view(-1)[mask[f"{name}.index"]] = mask[f"{name}.values"]
        assert torch.equal(tensor, whole[name])
    n = round(0.02 * sum(tensor.numel() for tensor in whole.values()))
    assert sizes == {"trainable_parameters_final": n, "adapter_bytes": n * (4 + 4)}
    assert sizes["adapter_bytes"] == sum(t.numel() * t.element_size() for t in mask.values())


def test_a_checkpoint_brings_its_own_mask(lend):
    """Had the scores been rounded otherwise, training would go on with the places it began with."""
    method = random_mask(ranked="tensor")
    with lend() as base:
        first, second = copy.deepcopy(base.model), copy.deepcopy(base.model)
        original = tensors(base.model)
    for model, seed in ((first, 1), (second, 2)):
        method.adapt(model, plan(seed))
    trained = {n: p for n, p in first.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for parameter in trained.values():
            parameter.add_(1)
        masked_entries.write(first)
        for name, parameter in second.named_parameters():  # as the loop does it
            if parameter.requires_grad:
                parameter.copy_(trained[name])
    assert masked_entries.overlap(masked_entries.places(first), masked_entries.places(second)) < 0.1
    method.load_state(second, method.state(first))
    assert masked_entries.overlap(masked_entries.places(first), masked_entries.places(second)) == 1
    states = masked_entries.base_state(first), masked_entries.base_state(second)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], original[name]) for name in original)


def test_a_checkpoint_of_other_parameters_is_passed_over(
    lend, trial_config, encoded, tmp_path, capsys
):
    for ratio, stop in ((0.01, 2), (0.02, None)):
        with lend() as base:
            config = trial_config("method=random_mask", f"method.keep_ratio={ratio}")
            if stop:
                with pytest.raises(Interrupted):
                    fit(base, config, encoded, tmp_path, steps=3, stop_before=stop)
            else:
                done = fit(base, config, encoded, tmp_path, steps=3)
    assert [row["step"] for row in done.rows] == [1, 2, 3]
    assert "training starts again" in capsys.readouterr().err


def test_overlap():
    first = {"a": torch.tensor([0, 1, 2]), "b": torch.tensor([5])}
    assert masked_entries.overlap(first, first) == 1
    assert masked_entries.overlap(first, {"a": torch.tensor([3]), "c": torch.tensor([5])}) == 0
    assert masked_entries.overlap(first, {"a": torch.tensor([1, 2, 7])}) == 2 / 5


def test_random_masks_overlap_as_chance_has_it(lend):
    """q² of the entries are in both, 2q − q² in either."""
    with lend() as base:
        two = [copy.deepcopy(base.model) for _ in range(2)]
    for seed, model in enumerate(two):
        random_mask(keep_ratio=0.2).adapt(model, plan(seed))
    chance = 0.2 / (2 - 0.2)
    assert masked_entries.overlap(*map(masked_entries.places, two)) == pytest.approx(
        chance, rel=0.02
    )
