"""The loop against a plain one written by hand, and the things that may go wrong in it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from running import adapted, fit, take

from harness.data.tokens.batches import BatchPlan
from harness.training import loop
from harness.training.loop import Diverged, Interrupted, OutOfMemory
from harness.training.optimizers import build_optimizer

OPTIMIZERS = {
    "adamw": 1e-3,
    "adam": 1e-3,
    "sgd": 0.5,
    "rmsprop": 3e-4,
    "adadelta": 1.0,
    "adafactor": 1e-3,
    "adamw_8bit": 1e-3,
    "paged_adamw": 1e-3,
    "paged_adamw_8bit": 1e-3,
}


@pytest.fixture
def full(trial_config):
    return trial_config(
        "method=full",
        "training.learning_rate=1e-3",
        "training.weight_decay=0.1",
        "training.warmup_steps=0",
    )


def sums(model, encoded, indices, smoothing=0.0):
    """Loss summed over label tokens and their number, one sequence at a time, nothing padded."""
    total, count = 0.0, 0
    for i in indices:
        ids = torch.from_numpy(encoded.sequence(i).astype(np.int64))[None]
        labels = ids.clone()
        labels[:, : encoded.first_label[i]] = -100
        logits = model(input_ids=ids).logits[:, :-1].flatten(0, 1)
        flat = labels[:, 1:].flatten()
        total = total + torch.nn.functional.cross_entropy(
            logits, flat, reduction="sum", label_smoothing=smoothing, ignore_index=-100
        )
        count += int((flat != -100).sum())
    return total, count


def by_hand(model, encoded, config, steps, batch=8, smoothing=0.0, clip=1.0):
    """AdamW, linear decay, clipping; every line torch's own."""
    model.requires_grad_(True).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-3, betas=(0.9, 0.999), weight_decay=0.1, foreach=False
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (steps - step) / steps)
    batches = BatchPlan(len(encoded), batch, config.seed)
    losses, norms = [], []
    for step in range(steps):
        total, count = sums(model, encoded, batches.indices(step), smoothing)
        optimizer.zero_grad()
        (total / count).backward()
        losses.append(float(total.detach()) / count)
        largest = math.inf if clip is None else clip
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), largest)))
        optimizer.step()
        scheduler.step()
    return losses, norms


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_losses_and_norms_are_those_of_a_plain_loop(lend_small, full, encoded, tmp_path, smoothing):
    with lend_small() as base:
        expected, norms = by_hand(base.model, encoded, full, 6, smoothing=smoothing)
    with lend_small() as base:
        done = fit(base, full, encoded, tmp_path, steps=6, label_smoothing=smoothing)
    assert done.losses == pytest.approx(expected, rel=2e-6)
    assert [row["grad_norm"] for row in done.rows] == pytest.approx(norms, rel=1e-4)
    rates = [1e-3 * (6 - step) / 6 for step in range(6)]
    assert [row["learning_rate"] for row in done.rows] == pytest.approx(rates)
    assert [row["step"] for row in done.rows] == [1, 2, 3, 4, 5, 6]
    batches = BatchPlan(len(encoded), 8, full.seed)
    seen = [int(encoded.lengths[batches.indices(step)].sum()) for step in range(6)]
    assert [row["tokens"] for row in done.rows] == list(np.cumsum(seen))


def test_without_clipping(lend_small, full, encoded, tmp_path):
    with lend_small() as base:
        expected, _ = by_hand(base.model, encoded, full, 5, clip=None)
    with lend_small() as base:
        done = fit(base, full, encoded, tmp_path, steps=5, max_grad_norm=None)
    assert done.losses == pytest.approx(expected, rel=2e-6)
    assert "grad_norm" not in done.rows[0]


def test_clipping_bounds_the_step(lend_small, full, encoded, tmp_path):
    """Plain SGD at rate 1: the parameters move by exactly the clipped norm."""
    with lend_small() as base:
        before = torch.cat([p.detach().flatten() for p in base.model.parameters()])
        done = fit(
            base,
            full,
            encoded,
            tmp_path,
            steps=1,
            optimizer="sgd",
            learning_rate=1.0,
            weight_decay=0.0,
            max_grad_norm=0.01,
        )
        after = torch.cat([p.detach().flatten() for p in done.model.parameters()])
    assert done.rows[0]["grad_norm"] > 0.01
    assert float((after - before).norm()) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize(("size", "parts"), [(4, 2), (1, 8)])
def test_accumulation_weighs_tokens_not_rows(lend_small, full, encoded, tmp_path, size, parts):
    labels = encoded.lengths - encoded.first_label
    assert len(set(labels.tolist())) > 4  # else this would show nothing
    with lend_small() as base:
        whole = fit(base, full, encoded, tmp_path / "whole", batch_size=8)
    with lend_small() as base:
        split = {"batch_size": size, "gradient_accumulation_steps": parts}
        done = fit(base, full, encoded, tmp_path / "split", **split)
    assert done.losses == pytest.approx(whole.losses, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_by_sequence_each_weighs_the_same(lend_small, full, encoded, tmp_path, smoothing):
    """Against a loop over sequences, each one's own mean; and however a step is split."""
    batch = BatchPlan(len(encoded), 8, full.seed).indices(0)
    with lend_small() as base:
        base.model.requires_grad_(True).train()
        means = []
        for index in batch:
            total, count = sums(base.model, encoded, [index], smoothing)
            means.append(total / count)
        expected = torch.stack(means).mean()
        expected.backward()
        norm = torch.nn.utils.clip_grad_norm_(base.model.parameters(), math.inf)
    for size, parts in ((8, 1), (2, 4)):
        how = {"batch_size": size, "gradient_accumulation_steps": parts}
        with lend_small() as base:
            done = fit(
                *(base, full, encoded, tmp_path / str(size), 1),
                **how,
                loss_average="sequence",
                label_smoothing=smoothing,
            )
        assert done.losses == pytest.approx([float(expected.detach())], rel=1e-5)
        assert done.rows[0]["grad_norm"] == pytest.approx(float(norm), rel=1e-4)
    with lend_small() as base:
        by_token = fit(base, full, encoded, tmp_path / "t", 1, label_smoothing=smoothing)
    assert abs(by_token.losses[0] - expected.item()) > 1e-4


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_lowers_the_loss(lend_small, full, encoded, tmp_path, name):
    batch = take(encoded, [0, 5, 10, 15])
    with lend_small() as base:
        done = fit(
            base,
            full,
            batch,
            tmp_path,
            steps=8,
            optimizer=name,
            learning_rate=OPTIMIZERS[name],
            weight_decay=0.0,
            schedule="constant",
        )
    assert done.losses[-1] < 0.95 * done.losses[0]
    unpaged = [text for text in done.progress.warnings if "a CPU has no paging" in text]
    assert len(unpaged) == name.startswith("paged")
    assert len(done.progress.warnings) == len(unpaged)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "rmsprop", "adadelta"])
def test_optimizers_are_torchs_with_its_values(full, name):
    training = replace(full.training, optimizer=name, adam_beta1=0.8, adam_beta2=0.95)
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    groups = [{"params": [weight], "lr": 0.25}, {"params": [], "lr": 1.0}]
    optimizer, warnings = build_optimizer(training, groups, "cpu")
    (group,) = optimizer.param_groups  # a group of nothing is left out
    assert (group["lr"], group["weight_decay"], warnings) == (0.25, 0.1, [])
    if "betas" in group:
        assert group["betas"] == (0.8, 0.95)
    twin = torch.nn.Parameter(weight.detach().clone())
    kind = {"adamw": "AdamW", "adam": "Adam", "sgd": "SGD", "rmsprop": "RMSprop"}
    cls = getattr(torch.optim, kind.get(name, "Adadelta"))
    betas = {"betas": (0.8, 0.95)} if name.startswith("adam") else {}
    reference = cls([twin], lr=0.25, weight_decay=0.1, foreach=False, **betas)
    for gradient in ([1.0, 0.5], [-0.25, 2.0], [3.0, 0.0]):
        weight.grad, twin.grad = torch.tensor(gradient), torch.tensor(gradient)
        optimizer.step()
        reference.step()
        assert weight.tolist() == pytest.approx(twin.tolist(), rel=1e-5)


@pytest.mark.parametrize(("name", "nesterov"), [("sgd", False), ("sgd", True), ("rmsprop", False)])
def test_momentum(full, name, nesterov):
    """SGD's by hand: v ← 0.9·v + g; the step is v, or g + 0.9·v; RMSprop's is torch's."""
    changes = {"optimizer": name, "momentum": 0.9, "nesterov": nesterov, "weight_decay": 0.0}
    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    groups = [{"params": [weight], "lr": 1.0}]
    optimizer, _ = build_optimizer(replace(full.training, **changes), groups, "cpu")
    assert optimizer.param_groups[0]["momentum"] == 0.9
    if name == "rmsprop":
        return
    velocity = at = 0.0
    for gradient in (1.0, 0.5, -2.0):
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        velocity = 0.9 * velocity + gradient
        at -= gradient + 0.9 * velocity if nesterov else velocity
        assert weight.item() == pytest.approx(at)


def test_the_untouched_model_is_evaluated_first(lend_small, full, encoded, tmp_path):
    """Once: not again by a run that goes on; what it says stops nothing."""
    for before, first in ((True, [0, 2]), (False, [2])):
        seen = []
        with lend_small() as base:
            about = {"evaluate_before_training": before, "eval_every": 2}
            fit(base, full, encoded, tmp_path / str(before), 3, evaluated=seen, **about)
        assert seen == first
    seen = []
    with pytest.raises(Interrupted), lend_small() as base:
        fit(base, full, encoded, tmp_path / "cut", 3, stop_before=1, evaluated=seen, **about)
    about["evaluate_before_training"] = True
    with lend_small() as base:
        fit(base, full, encoded, tmp_path / "cut", 3, evaluated=seen, **about)
    assert seen == [2]


def test_adafactors_rate_is_the_users(full):
    """No scaling by the size of a parameter, no rate of its own."""
    small, large = (torch.nn.Parameter(torch.full((2,), size)) for size in (0.01, 100.0))
    training = replace(full.training, optimizer="adafactor", weight_decay=0.0)
    optimizer, _ = build_optimizer(training, [{"params": [small, large], "lr": 0.25}], "cpu")
    small.grad, large.grad = torch.ones(2), torch.ones(2)
    optimizer.step()
    assert small.tolist() == pytest.approx([0.01 - 0.25] * 2)
    assert large.tolist() == pytest.approx([100.0 - 0.25] * 2)


def test_a_penalty_counts_once_a_step_however_it_is_split(lend, trial_config, encoded, tmp_path):
    config = trial_config("method=adalora", "training.warmup_steps=0")
    ends = []
    for size, parts in ((8, 1), (2, 4)):
        with lend() as base:
            done = fit(
                base,
                config,
                encoded,
                tmp_path / str(size),
                steps=3,
                batch_size=size,
                gradient_accumulation_steps=parts,
                optimizer="sgd",
                learning_rate=0.05,
                max_grad_norm=None,
            )
            held = {n: p.detach().clone() for n, p in done.model.named_parameters()}
            ends.append({name: p for name, p in held.items() if "lora_A" in name})
    assert len(ends[0]) == 28
    for name, whole in ends[0].items():
        assert torch.allclose(whole, ends[1][name], rtol=1e-3, atol=1e-6), name


def test_bf16_is_close_and_not_the_same(lend_small, full, encoded, tmp_path):
    with lend_small() as base:
        exact = fit(base, full, encoded, tmp_path / "a", steps=4)
    with lend_small() as base:
        done = fit(base, full, encoded, tmp_path / "b", steps=4, precision="bf16")
        assert {p.dtype for p in done.model.parameters()} == {torch.float32}
    assert done.losses == pytest.approx(exact.losses, rel=0.03)
    assert done.losses != exact.losses


@pytest.mark.parametrize("name", ["full", "lora", "qlora", "prompt_tuning"])
def test_gradient_checkpointing_changes_no_loss(
    pool, model_config, trial_config, encoded, tmp_path, name
):
    from harness import methods

    config = trial_config(f"method={name}", "training.learning_rate=5e-3")
    quantization = methods.build(config.method).base_quantization
    losses = []
    for on in (False, True):
        with pool.lend(model_config, quantization) as base:
            done = fit(base, config, encoded, tmp_path / str(on), 4, gradient_checkpointing=on)
            losses.append(done.losses)
            assert base.model.is_gradient_checkpointing == on
            held = base.model
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    # The base is lent again to others: nothing of it stays switched on.
    assert not held.is_gradient_checkpointing
    assert not held.get_input_embeddings()._forward_hooks


def test_nan_is_told_with_its_step(lend_small, full, encoded, tmp_path):
    def poison(done, row):
        if row["step"] == 3:
            with torch.no_grad():
                next(done.model.parameters()).fill_(math.nan)

    with pytest.raises(Diverged, match="loss became nan at step 4") as caught, lend_small() as base:
        fit(base, full, encoded, tmp_path, steps=6, on_step=poison)
    assert caught.value.step == 4


def test_nan_in_the_very_last_step_does_not_pass(lend_small, full, encoded, tmp_path):
    def poison(done, row):
        if row["step"] == 3:
            with torch.no_grad():
                next(done.model.parameters()).fill_(math.nan)

    with (
        pytest.raises(Diverged, match="parameter became NaN or infinite at step 3"),
        lend_small() as base,
    ):
        fit(base, full, encoded, tmp_path, steps=3, on_step=poison)


def too_large_above(monkeypatch, rows):
    """Memory for ``rows`` sequences at a time."""
    real, sizes = loop.logits_at, []

    def limited(model, input_ids, attention_mask, where):
        sizes.append(len(input_ids))
        if len(input_ids) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return real(model, input_ids, attention_mask, where)

    monkeypatch.setattr(loop, "logits_at", limited)
    return sizes


def test_out_of_memory_halves_the_micro_batch_and_keeps_the_effective_one(
    lend_small, full, encoded, tmp_path, monkeypatch
):
    with lend_small() as base:
        whole = fit(base, full, encoded, tmp_path / "a", steps=4)
    sizes = too_large_above(monkeypatch, rows=3)
    with lend_small() as base:
        done = fit(base, full, encoded, tmp_path / "b", steps=4)
    assert done.losses == pytest.approx(whole.losses, rel=1e-5)
    assert sizes == [8, 4] + [2] * 16
    assert done.progress.micro_batch_size == 2
    assert len(done.progress.warnings) == 2
    assert "halved to 4" in done.progress.warnings[0]
    assert "halved to 2" in done.progress.warnings[1]


def test_out_of_memory_in_a_later_part_leaves_no_gradient_behind(
    lend_small, full, encoded, tmp_path, monkeypatch
):
    """The first parts of a step fit, a later one does not: the step begins anew."""
    with lend_small() as base:
        whole = fit(base, full, encoded, tmp_path / "a", steps=3)
    real, calls = loop.logits_at, []

    def third_call_fails(*arguments):
        calls.append(len(arguments[1]))
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(*arguments)

    monkeypatch.setattr(loop, "logits_at", third_call_fails)
    with lend_small() as base:
        split = {"batch_size": 4, "gradient_accumulation_steps": 2}
        done = fit(base, full, encoded, tmp_path / "b", steps=3, **split)
    assert calls == [4, 4] + [2] * 12
    assert done.losses == pytest.approx(whole.losses, rel=1e-5)


def test_out_of_memory_with_one_example_is_the_end(
    lend_small, full, encoded, tmp_path, monkeypatch
):
    sizes = too_large_above(monkeypatch, rows=0)
    with pytest.raises(OutOfMemory, match="one example at a time"), lend_small() as base:
        fit(base, full, encoded, tmp_path, steps=4)
    assert sizes == [8, 4, 2, 1]


def test_gradients_that_another_run_left_behind_do_not_count(lend_small, full, encoded, tmp_path):
    """As one does that diverged: its last ones lie in the base when it is lent again."""
    with lend_small() as base:
        whole = fit(base, full, encoded, tmp_path / "a", steps=3)
    with lend_small() as base:
        for parameter in base.model.parameters():
            parameter.grad = torch.full_like(parameter, math.nan)
    with lend_small() as base:
        done = fit(base, full, encoded, tmp_path / "b", steps=3)
    assert done.losses == whole.losses


def test_interrupted_before_the_first_step(lend_small, full, encoded, tmp_path):
    with pytest.raises(Interrupted, match="after step 0"), lend_small() as base:
        fit(base, full, encoded, tmp_path, stop_before=0)
    assert (tmp_path / "step-0" / "manifest.json").is_file()


def test_a_paged_optimizers_state_is_paged_again(full):
    """bitsandbytes' own loading would put it into the device's memory, which has no room for it."""
    training = replace(full.training, optimizer="paged_adamw_8bit")
    weight = torch.nn.Parameter(torch.ones(64, 128))
    kept = build_optimizer(training, [{"params": [weight], "lr": 0.1}], "cpu")[0]
    weight.grad = torch.randn(64, 128)
    kept.step()
    twin = torch.nn.Parameter(weight.detach().clone())
    optimizer = build_optimizer(training, [{"params": [twin], "lr": 0.1}], "cpu")[0]
    real, paged = optimizer.get_state_buffer, []

    def get_state_buffer(like, dtype):
        paged.append((tuple(like.shape), dtype, like.device.type))
        return real(like, dtype=dtype)

    optimizer.get_state_buffer = get_state_buffer
    optimizer.load_state_dict(kept.state_dict())
    assert paged == [((64, 128), torch.uint8, "cpu")] * 2
    twin.grad = weight.grad = torch.randn(64, 128)
    kept.step(), optimizer.step()
    assert torch.equal(weight, twin)


def test_weight_decay_alone_moves_no_frozen_parameter(lend_small, trial_config, encoded, tmp_path):
    """Frozen weights keep their bits, and a method's claim is what the optimizer got."""
    config = trial_config("method=lora", "training.weight_decay=0.5", "training.learning_rate=0.1")
    with lend_small() as base:
        frozen = {n: p.detach().clone() for n, p in base.model.named_parameters()}
        done = adapted(base, config)
        groups = done.method.parameter_groups(done.model, 0.1, done.plan)
        given = {id(p) for group in groups for p in group["params"]}
        assert given == {id(p) for p in done.model.parameters() if p.requires_grad}
    with lend_small() as base:
        done = fit(base, config, encoded, tmp_path)
        for name, p in done.model.named_parameters():
            plain = name.removeprefix("base_model.model.").replace(".base_layer", "")
            if plain in frozen:
                assert torch.equal(p, frozen[plain]), name
