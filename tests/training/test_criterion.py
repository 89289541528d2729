"""Replay, KL to the base, L2-SP and EWC: held to their formulas, and to what each is for."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from running import adapted, fit, take
from torch.nn.functional import cross_entropy, kl_div

from harness import methods
from harness.config import RetentionConfig
from harness.data.rows.example import Example
from harness.data.tokens.batches import BatchPlan, Stream
from harness.data.tokens.encode import encode
from harness.training.anchor import Anchor, diagonal_fisher
from harness.training.criterion import OFF, Criterion

KL = {"kl_weight": 0.7}
ALL = {"replay_share": 0.25, "kl_weight": 0.7, "l2_sp_weight": 0.3, "ewc_weight": 2.0}
ALL |= {"ewc_samples": 3}
PLAIN = {"optimizer": "sgd", "learning_rate": 0.05, "schedule": "constant", "weight_decay": 0.0}
PLAIN |= {"max_grad_norm": None, "warmup_steps": 0}


@pytest.fixture(scope="module")
def replay(splits, tokenizer_builtin, trial_config):
    """The ten shortest documents of the pretraining text."""
    data = replace(trial_config("method=full").data, text_column="text")
    examples = [Example("", (text,)) for text in sorted(splits.replay, key=len)[:10]]
    return encode(examples, tokenizer_builtin, data, all_references=True)


@pytest.fixture
def held(trial_config):
    """`held("lora", kl_weight=1.0)`: a trial's configuration with that against forgetting."""

    def configured(name, **retention):
        config = trial_config(f"method={name}", "training.warmup_steps=0")
        return replace(config, retention=replace(OFF, **retention))

    return configured


# -- which sequences


@pytest.mark.parametrize(
    ("share", "batch", "n"),
    [(0.0, 8, 0), (0.25, 8, 2), (0.35, 10, 4), (0.5, 3, 2), (0.01, 8, 1), (0.99, 8, 7)],
)
def test_a_share_in_whole_sequences(share, batch, n):
    """To the nearest, a half upwards; at least one of either kind."""
    assert replace(OFF, replay_share=share).n_replay(batch) == n


def test_a_step_has_its_share_and_depends_on_step_and_seed_alone(held, encoded, replay):
    config = held("full", replay_share=0.25)
    criterion, again = (
        Criterion(encoded, config.training, 3, config.retention, replay) for _ in range(2)
    )
    parts = [criterion.parts(step) for step in range(12)]
    for own, back in parts[: criterion.steps_per_epoch - 1]:
        assert (len(own.indices), len(back.indices)) == (6, 2)
        assert (own.nll_weight, back.nll_weight) == (0.75, 0.25)
        assert (own.data, back.data) == (encoded, replay)
    assert again.parts(7) == parts[7]  # nothing before it was asked
    first_round = [index for _, back in parts[:5] for index in back.indices]
    second = [index for _, back in parts[5:10] for index in back.indices]
    assert sorted(first_round) == sorted(second) == list(range(10))
    assert first_round != second
    other = Criterion(encoded, config.training, 4, config.retention, replay)
    assert [p.indices for p in other.parts(0)] != [p.indices for p in parts[0]]
    epoch = [i for own, _ in parts[: criterion.steps_per_epoch] for i in own.indices]
    assert sorted(epoch) == list(range(len(encoded)))


def test_a_stream_is_one_order_cut_into_steps():
    """No partial step at the end of a round, and more than one round in a step."""
    for n, size in ((7, 3), (2, 5), (5, 5)):
        stream = Stream(n, size, seed=1)
        whole = [index for step in range(n) for index in stream.indices(step)]
        assert [len(stream.indices(step)) for step in range(n)] == [size] * n
        assert all(sorted(whole[at : at + n]) == list(range(n)) for at in range(0, n * size, n))


def test_off_is_a_batch_and_nothing_more(encoded, trial_config):
    config = trial_config("method=full")
    assert config.retention == replace(OFF, kl_sequences=2, ewc_samples=64)
    criterion = Criterion(encoded, config.training, 5, config.retention)
    plan = BatchPlan(len(encoded), 8, 5)
    for step in (0, 3, 9):
        (part,) = criterion.parts(step)
        assert (part.indices, part.nll_weight, part.kl_weight) == (plan.indices(step), 1.0, 0.0)
    assert criterion.penalty() is None


# -- the formula


def nll_and_kl(model, base, data, indices):
    """Mean NLL, and mean KL(base ‖ model), over the labels of some sequences, one at a time."""
    nlls, kls = [], []
    for i in indices:
        ids = torch.from_numpy(data.sequence(i).astype(np.int64))[None]
        places = slice(int(data.first_label[i]) - 1, -1)
        logits = model(input_ids=ids).logits[0, places]
        with torch.no_grad():
            before = base(input_ids=ids).logits[0, places].log_softmax(-1)
        nlls.append(cross_entropy(logits, ids[0, data.first_label[i] :], reduction="none"))
        after = logits.log_softmax(-1)
        kls.append(kl_div(after, before, log_target=True, reduction="none").sum(-1))
    return torch.cat(nlls).mean(), torch.cat(kls).mean()


def fisher_by_hand(model, data, indices):
    """Squares of the gradient of each sequence's log-likelihood, over all tokens."""
    total = {n: torch.zeros_like(p) for n, p in model.named_parameters() if p.requires_grad}
    for i in indices:
        model.zero_grad()
        ids = torch.from_numpy(data.sequence(i).astype(np.int64))[None]
        log_probs = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
        log_probs.gather(1, ids[0, 1:, None]).sum().backward()
        for name, p in model.named_parameters():
            if p.grad is not None:
                total[name] += p.grad**2
    model.zero_grad()
    n_tokens = sum(int(data.lengths[i]) - 1 for i in indices)
    return {name: squares / n_tokens for name, squares in total.items()}


def by_hand(base, config, encoded, replay, steps):
    """Plain gradient descent on the formula, with a second model as the base; rows and ends."""
    frozen = deepcopy(base.model)
    done = adapted(base, config, encoded, steps)
    model, retention = done.model, config.retention
    start = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    order = np.random.default_rng((config.seed, 13)).permutation(len(replay))
    fisher = fisher_by_hand(model, replay, order[: retention.ewc_samples].tolist())
    criterion = Criterion(encoded, config.training, config.seed, retention, replay)
    criterion.compute_base_log_probs(
        frozen, steps, 4, "cpu", top_k=8, memory_gb=1.0
    )  # or parts are refused
    rows = []
    for step in range(steps):
        own, *back = criterion.parts(step)
        n = {"replay": len(back[0].indices) if back and retention.replay_share else 0}
        share = n["replay"] / (len(own.indices) + n["replay"])
        loss, kl = nll_and_kl(model, frozen, encoded, own.indices)
        row, total = {"loss": loss}, (1 - share) * loss
        if back:
            row["replay_loss"], kl_back = nll_and_kl(model, frozen, replay, back[0].indices)
            total = total + share * row["replay_loss"]
            kl = kl_back if retention.kl_on == "replay" else kl
        trained = {n: p for n, p in model.named_parameters() if n in start}
        springs = sum(
            (
                (retention.l2_sp_weight + retention.ewc_weight * fisher[n]) * (p - start[n]) ** 2
            ).sum()
            for n, p in trained.items()
        )
        row["penalty"] = retention.kl_weight * kl + springs / 2
        model.zero_grad()
        (total + row["penalty"]).backward()
        rows.append({name: float(value.detach()) for name, value in row.items()})
        with torch.no_grad():
            for p in trained.values():
                p -= config.training.learning_rate * p.grad
    return rows, {name: p.detach().clone() for name, p in trained.items()}


CASES = {
    "everything": ("full", ALL),
    "everything, lora": ("lora", ALL),
    "KL beside the batch": ("full", KL),
    "KL on the target, replay": ("lora", KL | {"kl_on": "target", "replay_share": 0.5}),
}


@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradient_are_the_formulas(lend_small, held, encoded, replay, tmp_path, case):
    """Parameters after steps of plain gradient descent say what the gradients were."""
    name, retention = CASES[case]
    data = take(encoded, np.argsort(encoded.lengths)[:24].tolist())
    config = held(name, **retention)
    config = replace(config, training=replace(config.training, **PLAIN))
    if name == "lora":  # at zero B a step would say little
        config = replace(config, training=replace(config.training, learning_rate=1.0))
    with lend_small() as base:
        rows, expected = by_hand(base, config, data, replay, steps=3)
    with lend_small() as base:
        done = fit(base, config, data, tmp_path, steps=3, replay=replay)
        ends = {n: p.detach().clone() for n, p in done.model.named_parameters() if n in expected}
    for row, by_formula in zip(done.rows, rows, strict=True):
        assert {n: row.get(n) for n in by_formula} == pytest.approx(by_formula, rel=1e-3, abs=1e-6)
        assert set(row) - set(by_formula) == {"step", "learning_rate", "tokens", "seconds"}
    assert rows[2]["penalty"] > 1e-3
    for name, end in ends.items():
        assert torch.allclose(end, expected[name], rtol=1e-3, atol=2e-5), name


def test_a_split_batch_has_the_gradient_of_the_whole(lend_small, held, encoded, replay, tmp_path):
    config, ends = held("lora", **ALL), []
    for size, parts in ((8, 1), (2, 4)):
        with lend_small() as base:
            split = {"batch_size": size, "gradient_accumulation_steps": parts}
            about = (base, config, encoded, tmp_path / str(size), 3)
            done = fit(*about, replay=replay, **PLAIN | {"learning_rate": 1.0}, **split)
            ends.append([p.detach().clone() for p in done.model.parameters() if p.requires_grad])
    assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-6) for a, b in zip(*ends, strict=True))


def test_energy_and_force_of_springs_by_hand():
    """θ⁰ = (1, −2), θ = (3, −1), F = (0.5, 4), α = 2, β = 3: ½(3.5·2² + 14·1²) = 14."""
    model = torch.nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -2.0]]))
    anchor = Anchor(model, 2.0, 3.0, {"weight": torch.tensor([[0.5, 4.0]])})
    assert anchor.penalty().item() == 0
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[3.0, -1.0]]))
    penalty = anchor.penalty()
    (force,) = torch.autograd.grad(penalty, [model.weight])
    assert penalty.item() == 14.0
    assert force.tolist() == [[3.5 * 2, 14.0 * 1]]


def test_fisher_information_where_a_gradient_is_zero(lend_small, held, replay):
    """LoRA's A has none while B is zero, so F does not hold it; base weights are not asked."""
    with lend_small() as base:
        model = adapted(base, held("lora")).model
        found = diagonal_fisher(model, replay, [1, 4], "cpu")
    assert {name.split(".")[-3] for name in found} == {"lora_A", "lora_B"}
    for name, fisher in found.items():
        assert (float(fisher.max()) > 0) == ("lora_B" in name), name
        assert float(fisher.min()) >= 0


# -- what it is for

NAMES = ["full", "lora", "qlora", "adalora", "prompt_tuning"]
SWITCHES = {
    "replay": {"replay_share": 0.25},
    "kl": {"kl_weight": 1.0},
    "kl on target": {"kl_weight": 1.0, "kl_on": "target"},
    "l2_sp": {"l2_sp_weight": 1.0},
    "ewc": {"ewc_weight": 1.0, "ewc_samples": 2},
}


@pytest.mark.parametrize("name", NAMES)
def test_every_switch_works_with_every_method(
    pool, model_config, held, encoded, replay, tmp_path, name
):
    config = held(name, **SWITCHES["kl"])
    method = methods.build(config.method)
    data = take(encoded, np.argsort(encoded.lengths)[:4].tolist())
    rows = {}
    for switch, retention in {"off": {}, **SWITCHES}.items():
        config = held(name, **retention)
        with pool.lend(model_config, method.base_quantization) as base:
            folder = tmp_path / switch.replace(" ", "-")
            rows[switch] = fit(base, config, data, folder, 2, replay=replay, batch_size=4).rows
    own = {"step", "loss", "learning_rate", "grad_norm", "tokens", "seconds"}
    assert set(rows["off"][0]) == own
    assert set(rows["replay"][0]) == own | {"replay_loss"}
    assert set(rows["kl"][0]) == own | {"replay_loss", "penalty"}
    for switch in ("kl on target", "l2_sp", "ewc"):
        assert set(rows[switch][0]) == own | {"penalty"}
    for switch in ("kl", "kl on target", "l2_sp", "ewc"):
        # What is added is in no loss: before anything has moved it is what it is without.
        assert rows[switch][0]["loss"] == rows["off"][0]["loss"]
        assert rows[switch][1]["penalty"] > rows[switch][0]["penalty"] * method.starts_at_base
    for switch in ("l2_sp", "ewc"):
        assert rows[switch][0]["penalty"] == 0
    at_base = rows["kl"][0]["penalty"]  # the distance of the adapted model from the untouched base
    assert at_base < 1e-5 if method.starts_at_base else at_base > 1e-3


def test_a_large_weight_keeps_the_model_at_its_base(lend, held, encoded, replay, tmp_path):
    """KL on text that was never asked about. Springs stop all learning; KL leaves the task free."""
    data, asked, rest = encoded.take(range(8)), replay.take(range(8)), replay.take([8, 9])
    how = {"optimizer": "adamw", "learning_rate": 1e-3, "weight_decay": 0.0, "batch_size": 4}
    distances, losses = {}, {}
    for name, retention in (
        ("off", {}),
        ("kl", {"kl_weight": 30.0, "kl_sequences": 8}),
        ("l2_sp", {"l2_sp_weight": 1000.0}),
    ):
        with lend() as base:
            frozen = deepcopy(base.model)
            about = (base, held("full", **retention), data, tmp_path / name, 12)
            done = fit(*about, replay=asked, max_grad_norm=None, **how)
            with torch.no_grad():
                distances[name] = float(nll_and_kl(done.model, frozen, rest, [0, 1])[1])
            losses[name] = done.losses
    assert distances["off"] > 0.05
    assert distances["kl"] < 0.1 * distances["off"] and losses["kl"][-1] < 0.2 * losses["kl"][0]
    assert distances["l2_sp"] < 0.01 * distances["off"]
    assert losses["l2_sp"][-1] > 0.7 * losses["l2_sp"][0]


def test_what_looks_back_needs_something_to_look_at():
    assert OFF.looks_back is None
    assert replace(OFF, l2_sp_weight=1.0).looks_back is None
    assert replace(OFF, kl_weight=1.0, kl_on="target").looks_back is None
    for field in ("replay_share", "kl_weight", "ewc_weight"):
        assert str(replace(OFF, **{field: 0.5}).looks_back) == f"retention.{field}=0.5"
    assert isinstance(OFF, RetentionConfig)
