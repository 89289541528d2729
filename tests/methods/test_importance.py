"""Scores against brute force, and which entries they choose: how many, and where."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from running import adapted, take
from torch import nn

from harness import methods
from harness.compose.command_line import compose_trial
from harness.data.tokens.encode import Encoded
from harness.errors import InputError
from harness.methods.base import AdaptContext
from harness.methods.importance.entry_scores import apportioned, gradient_sums, importance, largest
from harness.models.weights import masked_entries


@pytest.fixture(scope="module")
def tiny():
    """A Llama of a few hundred parameters, tied, over 8 tokens."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    small = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2, "vocab_size": 8}
    config = AutoConfig.for_model(
        "llama", num_hidden_layers=1, tie_word_embeddings=True, initializer_range=0.5, **small
    )
    return AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)


SEQUENCES = [[1, 5, 2, 7, 3], [4, 4, 6, 0], [2, 3, 1, 1, 5, 6]]  # labels from the third token on


def plan_of(sequences, seed=0):
    n = len(sequences)
    data = Encoded(
        tokens=np.concatenate(sequences).astype(np.int32),
        offsets=np.cumsum([0, *map(len, sequences)]),
        first_label=np.full(n, 2, np.int32),
        example=np.arange(n, dtype=np.int32),
        label_bytes=np.ones(n, np.int32),
        counts={},
    )
    return AdaptContext(10, 10, None, data, seed)


def log_p(model, sequence):
    """(n_labels, vocabulary) log-probabilities, and the labels; without the code under test."""
    ids = torch.tensor([sequence])
    logits = model(input_ids=ids, use_cache=False).logits[0]
    return torch.log_softmax(logits, -1)[1:-1], ids[0, 2:]


def gradients(model, value):
    named = dict(model.named_parameters())
    for parameter in named.values():
        parameter.requires_grad_(True)
    found = torch.autograd.grad(value, list(named.values()), retain_graph=True)
    return dict(zip(named, found, strict=True))


def of_each_sequence(model):
    """∇ log p of the true labels, a sequence at a time."""
    found = []
    for sequence in SEQUENCES:
        table, labels = log_p(model.requires_grad_(True), sequence)
        found.append(gradients(model, table.gather(1, labels[:, None]).sum()))
    model.requires_grad_(False)
    return found


def close(ours, expected):
    assert set(ours) == set(expected)
    for name in ours:
        torch.testing.assert_close(ours[name], expected[name], rtol=1e-4, atol=1e-7)


def test_square_of_the_samples_is_not_the_square_of_the_mean():
    """The Fisher information of gradients +1 and −1 is 1, not 0."""
    weight = nn.Parameter(torch.tensor([3.0]))
    found = {}
    for squared in (True, False):
        with gradient_sums({"w": weight}, squared) as sums:
            for sign in (1.0, -1.0):
                (sign * weight).sum().backward()
        found[squared] = sums["w"].item() / 2
    assert found == {True: 1.0, False: 0.0}
    assert weight.grad is None
    assert not weight.requires_grad


def test_gradients_are_those_of_the_mean_loss(tiny):
    n_labels = sum(len(sequence) - 2 for sequence in SEQUENCES)
    each = of_each_sequence(tiny)
    mean = {n: -sum(g[n] for g in each) / n_labels for n in each[0]}
    weights = dict(tiny.named_parameters())
    plan = plan_of(SEQUENCES)
    close(importance(tiny, plan, "gradient", 3), {n: g.abs() for n, g in mean.items()})
    close(importance(tiny, plan, "gradient_squared", 3), {n: g**2 for n, g in mean.items()})
    taylor = {n: (g * weights[n]).abs() for n, g in mean.items()}
    close(importance(tiny, plan, "weight_gradient", 3), taylor)
    magnitude = {n: w.abs() for n, w in weights.items()}
    close(importance(tiny, plan, "magnitude", 3), magnitude)


def test_empirical_fisher_is_the_mean_of_squares_a_sequence_at_a_time(tiny):
    each = of_each_sequence(tiny)
    squares = {n: sum(g[n] ** 2 for g in each) / 3 for n in each[0]}
    ours = importance(tiny, plan_of(SEQUENCES), "empirical_fisher", 3)
    close(ours, squares)
    of_mean = {n: (sum(g[n] for g in each) / 3) ** 2 for n in each[0]}
    assert sum(map(torch.sum, of_mean.values())) < 0.8 * sum(map(torch.sum, ours.values()))


def test_fisher_is_the_expectation_over_the_models_own_labels(tiny):
    """Σ over places of E_{y∼p} (∇ log p(y))², all outcomes enumerated; ours draws one a place."""
    sequence = [1, 5]
    for _ in range(3):  # what the model expects least
        sequence.append(int(tiny(input_ids=torch.tensor([sequence])).logits[0, -1].argmin()))
    table, labels = log_p(tiny.requires_grad_(True), sequence)
    exact = 0.0
    for place in table:
        of_outcome = [gradients(tiny, outcome) for outcome in place]
        square = [sum(float((g**2).sum()) for g in one.values()) for one in of_outcome]
        exact += sum(p * s for p, s in zip(place.exp().tolist(), square, strict=True))
    at_labels = gradients(tiny, table.gather(1, labels[:, None]).sum())
    true = sum(float((g**2).sum()) for g in at_labels.values())
    tiny.requires_grad_(False)
    many = importance(tiny, plan_of([sequence] * 200), "fisher", 200)
    drawn = sum(float(score.sum()) for score in many.values())
    assert drawn == pytest.approx(exact, rel=0.1)
    assert true > 1.5 * exact  # the labels that are there are another matter


def test_fisher_depends_on_the_seed_and_nothing_else(tiny):
    one, same, other = (importance(tiny, plan_of(SEQUENCES, s), "fisher", 3) for s in (1, 1, 2))
    assert all(torch.equal(one[n], same[n]) for n in one)
    assert any(not torch.equal(one[n], other[n]) for n in one)
    assert not any(p.requires_grad or p.grad is not None for p in tiny.parameters())


def test_scores_that_are_no_numbers_are_refused(tiny):
    broken = dict(tiny.named_parameters())["model.norm.weight"]
    kept = broken.data.clone()
    broken.data[0] = float("nan")
    with pytest.raises(InputError, match=r"method.score='gradient' .* not finite for"):
        importance(tiny, plan_of(SEQUENCES), "gradient", 3)
    broken.data.copy_(kept)


@pytest.mark.parametrize("levels", [2, 5, 10_000])
def test_largest_is_exact_whatever_the_ties(levels):
    """Against a stable sort of everything, numpy's."""
    rng = np.random.default_rng(levels)
    for k in (1, 7, 50, 119, 120):
        whole = (rng.integers(0, levels, 120) / levels).astype(np.float32)
        parts = [torch.from_numpy(whole[at : at + 40].copy()).view(5, 8) for at in (0, 40, 80)]
        found = largest(parts, k)
        assert sum(map(len, found)) == k
        places = np.concatenate([at.numpy() + 40 * i for i, at in enumerate(found)])
        assert places.tolist() == sorted(np.argsort(-whole, kind="stable")[:k].tolist())


def test_apportioned_in_whole_numbers():
    assert apportioned(5, {"a": 30, "b": 60, "c": 10}) == {"a": 2, "b": 3, "c": 0}
    sizes = {str(i): n for i, n in enumerate([7, 128, 128, 16384, 3])}
    for total in (0, 1, 17, 9999, sum(sizes.values())):
        given = apportioned(total, sizes)
        assert sum(given.values()) == total
        for name, size in sizes.items():
            assert abs(given[name] - total * size / sum(sizes.values())) < 1


def mask(name="importance_mask", **changes):
    fields = {"ranked": "model", "keep_ratio": 0.05, "like_lora_r": None}
    if name == "importance_mask":
        fields |= {"score": "magnitude", "samples": 3}
    return methods.build({"name": name, **fields, **changes})


def chosen(method, model, seed=0):
    try:
        places = masked_entries.places(method.adapt(model, plan_of(SEQUENCES, seed)))
        return {name: at.clone() for name, at in places.items()}
    finally:
        masked_entries.take_off(model)
        model.requires_grad_(False)


def test_ranked_over_the_model_or_tensor_by_tensor(tiny):
    weights = {n: p.detach().abs().flatten() for n, p in tiny.named_parameters()}
    n = sum(map(len, weights.values()))
    over_all = chosen(mask(), tiny)
    k = round(0.05 * n)
    threshold = torch.cat(list(weights.values())).sort(descending=True).values[k - 1]
    assert sum(map(len, over_all.values())) == k
    assert all((weights[name][at] >= threshold).all() for name, at in over_all.items())
    by_tensor = chosen(mask(ranked="tensor"), tiny)
    assert {name: len(at) for name, at in by_tensor.items()} == {
        name: n for name, n in apportioned(k, {n: len(w) for n, w in weights.items()}).items() if n
    }
    for name, at in by_tensor.items():
        assert at.tolist() == sorted(weights[name].argsort(descending=True)[: len(at)].tolist())
    assert set(over_all) != set(by_tensor)


def test_random_masks_are_drawn_by_the_seed(tiny):
    one, same, other = (chosen(mask("random_mask", keep_ratio=0.3), tiny, s) for s in (1, 1, 2))
    assert masked_entries.overlap(one, same) == 1
    assert masked_entries.overlap(one, other) < 0.5
    assert sum(map(len, one.values())) == sum(map(len, other.values()))


def test_as_many_as_lora_of_that_rank():
    """Sizes by hand: 32×32 at rank 2 is 128; over the model what peft's LoRA trains."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    small = {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2, "vocab_size": 8}
    config = AutoConfig.for_model("llama", intermediate_size=48, **small)
    model = AutoModelForCausalLM.from_config(config)
    method = mask("random_mask", keep_ratio=None, like_lora_r=2)
    method.check(model)
    by_tensor = chosen(mask("random_mask", keep_ratio=None, like_lora_r=2, ranked="tensor"), model)
    assert len(by_tensor["model.layers.1.self_attn.q_proj.weight"]) == 128
    assert len(by_tensor["model.layers.1.mlp.up_proj.weight"]) == 2 * (32 + 48)
    assert len(by_tensor) == 14
    over_all = chosen(method, model)
    lora = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear"))
    n_lora = sum(p.numel() for p in lora.parameters() if p.requires_grad)
    for found in (by_tensor, over_all):
        assert sum(map(len, found.values())) == n_lora
    assert set(over_all) != set(by_tensor)  # embeddings and norms are in it too


@pytest.mark.parametrize("name", ["importance_mask", "random_mask"])
def test_matched_is_exact(tiny, name):
    total = sum(p.numel() for p in tiny.parameters())
    for n in (1, 97, 333, total):
        for ranked in ("model", "tensor"):
            found = chosen(mask(name, ranked=ranked).matched(tiny, n), tiny)
            assert sum(map(len, found.values())) == n
    with pytest.raises(InputError, match=rf"trainable_parameters={total + 1} .* from 1 to "):
        mask(name).matched(tiny, total + 1)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("method.keep_ratio=0", r"method.keep_ratio=0.0 .*null or in \(0, 1\]"),
        ("method.keep_ratio=1.2", r"method.keep_ratio=1.2 .*null or in \(0, 1\]"),
        ("method.keep_ratio=null", "exactly one of them"),
        ("method.like_lora_r=4", r"keep_ratio=0.0\d+ and method.like_lora_r=4 cannot be used"),
        ("method.samples=0", "method.samples=0 .*at least 1"),
        ("method.score=grad", "method.score='grad' .*one of gradient, "),
        ("model.quantization=nf4", "trains the base's own weights"),
    ],
)
def test_what_cannot_be_used_is_refused(override, says):
    with pytest.raises(InputError, match=says):
        compose_trial(["method=importance_mask", override])[0].trial({})


def test_sizes_that_the_model_cannot_have_are_refused(tiny):
    with pytest.raises(InputError, match=r"method.keep_ratio=1e-07 .*enough for one of the"):
        mask(keep_ratio=1e-7).check(tiny)
    with pytest.raises(
        InputError, match=r"method.like_lora_r=5 .*80 entries .* 64 of model.layers.0"
    ):
        mask(keep_ratio=None, like_lora_r=5).check(tiny)


def test_masks_of_different_data_agree_far_more_than_chance(lend, trial_config, encoded):
    """On the built-in model: Fisher information of other sequences finds much the same entries."""
    config = trial_config("method=importance_mask", "method.keep_ratio=0.01", "method.samples=6")
    found = []
    half = len(encoded) // 2
    for part in (range(half), range(half, 2 * half)):
        with lend() as base:
            start = adapted(base, config, take(encoded, list(part)))
            found.append({n: at.clone() for n, at in masked_entries.places(start.model).items()})
            shares = start.method.describe(start.model)["chosen"]
    assert masked_entries.overlap(*found) > 20 * 0.01 / (2 - 0.01)
    kind = "model.layers.*.self_attn.o_proj.weight"
    n = sum(len(at) for name, at in found[1].items() if name.endswith("o_proj.weight"))
    assert shares[kind] == n / (4 * 128 * 128)
