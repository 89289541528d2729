"""The promises of every method, over every YAML in conf/method/."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from running import adapted, fit, logits_of, take, tensors
from skeletons import refused_by_the_builtin_model

from harness import methods
from harness.compose.command_line import compose_trial, conf_dir
from harness.evaluation.generation import generate
from harness.evaluation.likelihood import sequence_nll
from harness.methods import METHODS
from harness.trials.results.artifacts import save_adapter

FILES = sorted((conf_dir() / "method").rglob("*.yaml"))
NAMES = [path.stem for path in FILES]
IDS = torch.arange(3, 43).reshape(2, 20)


@cache
def composed(name: str):
    """(plan, tree) of the method's own file."""
    return compose_trial([f"method={name}"])


@dataclass(frozen=True)
class Expected:
    """Contract of a method. The defaults hold for methods without an entry in EXPECTED."""

    rate: float | None = None  # one batch's loss falls in 12 steps; None: the largest one searched
    trains: Callable[[str], bool] | None = None  # parameter names; None: see ``may_train``
    chooses: bool = False  # trains some of them, which ones the data decide
    merges: bool = True  # into a base of full precision, with the same answers
    starts_at_base: bool = True
    start_tolerance: float = 0.0  # of the largest logit; 0: exactly there, bit for bit
    less: tuple[str, ...] = ()  # overrides with which it takes less time here


VIRTUAL_TOKENS = Expected(merges=False, starts_at_base=False)
MASK = Expected(1e-2, lambda name: name.endswith(".0.values"))
# Only what differs from the defaults.
EXPECTED = {
    "full": Expected(1e-3, lambda name: True),
    "ulmfit": Expected(1e-3, lambda name: True),
    "bitfit": Expected(3e-2, lambda name: name.endswith(".bias")),
    "lora_fa": Expected(1e-2, lambda name: ".lora_B." in name),
    "pissa": Expected(start_tolerance=5e-6),
    "olora": Expected(1e-3, start_tolerance=5e-6),
    "eva": Expected(less=("method.eva_sequences=8",)),
    "loftq": Expected(merges=False, starts_at_base=False),
    "importance_mask": replace(MASK, less=("method.samples=8",)),
    "random_mask": replace(MASK, rate=3e-2),
    "forest_importance": Expected(
        3e-3,
        lambda name: True,
        chooses=True,
        less=("method.masks=8", "method.samples=8", "method.trees=10"),
    ),
    "prompt_tuning": VIRTUAL_TOKENS,
    "prefix_tuning": VIRTUAL_TOKENS,
    "p_tuning": VIRTUAL_TOKENS,
    "p_tuning_v2": VIRTUAL_TOKENS,
}


def expected_of(name: str) -> Expected:
    """The promise of a method, with the largest learning rate it searches where none is given."""
    expected = EXPECTED.get(name, Expected())
    if expected.rate is not None:
        return expected
    dimension = composed(name)[0].space["training.learning_rate"]
    return replace(expected, rate=max(dimension.ends()))


def may_train(expected: Expected, model: Any) -> set[str]:
    """Names of the parameters that may be trained, as somebody else than the method names them.

    Of an adapter those that PEFT calls its own; of a method without one its own claim.
    """
    parameters = dict(model.named_parameters())
    if expected.trains is not None:
        return {name for name in parameters if expected.trains(name)}
    if not hasattr(model, "peft_config"):
        return {name for name, parameter in parameters.items() if parameter.requires_grad}
    own = getattr(model.base_model, "prefix", "prompt_encoder")  # virtual tokens have no tuner
    return {name for name in parameters if own in name}


def test_every_method_has_a_file_and_every_file_a_method():
    """Several files may configure one class: LoRA's relatives are flags of it."""
    assert set(EXPECTED) <= set(NAMES)
    classes = {composed(path.stem)[1]["method"]["name"] for path in FILES}
    assert classes == set(METHODS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_yaml_and_class_have_the_same_fields(path):
    text = path.read_text(encoding="utf-8")
    plan, tree = composed(path.stem)
    assert text.startswith("# @package _global_\n")
    assert plan.method == path.stem
    own = {field.name for field in fields(METHODS[tree["method"]["name"]])}
    assert set(tree["method"]) == own | {"name", "match"}
    assert path.stem == "full" or "arXiv:" in text.splitlines()[1]
    assert plan.space


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_search_path_exists_and_both_ends_build(path):
    plan, _ = composed(path.stem)
    assert plan.space
    for key, dimension in plan.space.items():
        built = []
        for value in dimension.ends():
            config = plan.trial({key: value})
            group, field = key.split(".")
            held = getattr(config, group)
            held = held[field] if isinstance(held, dict) else getattr(held, field)
            assert held == value, key
            built.append(methods.build(config.method))
        assert len(built) >= 2


@pytest.fixture(scope="session")
def on(tokenizer_builtin, tmp_path_factory):
    """The overrides that put a method on a model that it can be used on, in little time.

    A method that refuses the built-in model, which has no biases, is tried on a tiny GPT-2.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    size = {"n_layer": 2, "n_embd": 32, "n_head": 2, "initializer_range": 0.3}
    config = AutoConfig.for_model("gpt2", vocab_size=len(tokenizer_builtin), **size)
    folder = tmp_path_factory.mktemp("gpt2")
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer_builtin.save_pretrained(folder)
    there = [f"model.name={folder}"]
    refused = refused_by_the_builtin_model()
    return lambda name: [*there * (name in refused), *expected_of(name).less]


@pytest.fixture(scope="module", params=NAMES)
def ran(request, pool, on, trial_config, encoded, splits, tmp_path_factory):
    """A dozen steps on one batch with weight decay, then everything that is to be looked at."""
    name = request.param
    expected = expected_of(name)
    config = trial_config(
        f"method={name}",
        *on(name),
        "training.weight_decay=0.1",
        f"training.learning_rate={expected.rate}",
        "training.warmup_steps=0",
        "training.schedule=constant",
    )
    method = methods.build(config.method)
    one_batch = take(encoded, [0, 7, 14, 21])
    folder = tmp_path_factory.mktemp(name)
    before = {}

    with pool.lend(config.model, method.base_quantization) as base:
        before["base"] = logits_of(base.model, IDS)
        untouched = adapted(base, config, one_batch, steps=12)
        before["tensors"] = tensors(untouched.model)
        before["claimed"] = {n for n, p in untouched.model.named_parameters() if p.requires_grad}
        before["may"] = may_train(expected, untouched.model)
        before["logits"] = logits_of(untouched.model, IDS)
        del untouched
    with pool.lend(config.model, method.base_quantization) as base:
        done = fit(base, config, one_batch, folder / "c", steps=12)
        after = tensors(done.model)
        logits = logits_of(done.model, IDS)
        nll, _ = sequence_nll(done.model, one_batch, 4, "cpu")
        prompts = [one_batch.sequence(i)[: one_batch.first_label[i]] for i in range(4)]
        how = {"num_beams": 1, "batch_size": 4, "device": "cpu"}
        texts = generate(done.model, base.tokenizer, prompts, max_new_tokens=8, **how).texts
        save_adapter(folder / "adapter", done.method, done.model, base.tokenizer)
    unmerged = merged = None
    if not method.cannot_merge:
        with pool.lend(config.model, None) as base:
            loaded = method.load(base.model, folder / "adapter")
            unmerged = logits_of(loaded, IDS)
            merged = logits_of(method.merged(loaded), IDS)
    return SimpleNamespace(
        name=name,
        expected=expected,
        method=method,
        config=config,
        losses=done.losses,
        before=before,
        after=after,
        logits=logits,
        nll=nll,
        n_labels=float(one_batch.lengths.sum() - one_batch.first_label.sum()),
        texts=texts,
        unmerged=unmerged,  # over the base at full precision
        merged=merged,
        adapter=folder / "adapter",
    )


def test_requires_grad_is_on_exactly_what_it_claims(ran):
    may, claimed = ran.before["may"], ran.before["claimed"]
    assert claimed < may if ran.expected.chooses else claimed == may
    assert claimed


def test_it_starts_at_the_base_exactly_where_it_says_so(ran):
    assert ran.method.starts_at_base == ran.expected.starts_at_base
    base = ran.before["base"]
    start = ran.before["logits"][:, -base.shape[1] :]  # virtual tokens may stand before the input's
    difference = float((start - base).abs().max() / base.abs().max())
    if ran.expected.starts_at_base:
        assert difference <= ran.expected.start_tolerance
    else:
        assert difference > 1e-3


def test_what_is_frozen_is_bit_identical_and_what_is_not_moves(ran):
    """Weight decay and all."""
    old, new = ran.before["tensors"], ran.after
    assert set(old) == set(new)
    moved = {name for name in old if not torch.equal(old[name], new[name])}
    values = {name for name in ran.before["claimed"] if name.endswith(".0.values")}
    dense = {name.replace(".0.values", ".original") for name in values}  # that a mask writes to
    # AdaLoRA sets the singular values back to zero that its budget takes away.
    taken = {name for name in old if ".lora_E." in name and not new[name].any()}
    assert moved | taken == ran.before["claimed"] | dense
    for name in dense:
        elsewhere = torch.ones(old[name].numel(), dtype=torch.bool)
        elsewhere[new[name.replace(".original", ".0.index")]] = False
        assert torch.equal(old[name].flatten()[elsewhere], new[name].flatten()[elsewhere])


def test_loss_on_one_batch_falls(ran):
    assert ran.losses[-1] < 0.9 * ran.losses[0]
    assert all(map(math.isfinite, ran.losses))


def test_generates_and_has_a_perplexity(ran):
    assert len(ran.texts) == 4
    assert all(isinstance(text, str) for text in ran.texts)
    assert any(ran.texts)
    # What evaluation says of the same batch goes on where training stopped.
    assert ran.nll.sum() / ran.n_labels < 0.9 * ran.losses[0]


def test_saved_and_loaded_again_it_answers_the_same(ran, pool):
    assert list(ran.adapter.glob("*.safetensors"))
    assert not list(ran.adapter.glob("*.bin"))
    with pool.lend(ran.config.model, ran.method.base_quantization) as base:
        again = logits_of(ran.method.load(base.model, ran.adapter), IDS)
    assert float((again - ran.logits).abs().max()) < 1e-5 * float(ran.logits.abs().max())


def test_merged_it_answers_the_same(ran):
    assert ran.expected.merges == (ran.merged is not None)
    if ran.merged is None:
        assert len(ran.method.cannot_merge) > 20  # says why
        return
    close = 1e-5 * float(ran.unmerged.abs().max())
    assert float((ran.merged - ran.unmerged).abs().max()) < close
    from_trained = float((ran.merged - ran.logits).abs().max())
    if ran.method.base_quantization is None:
        assert from_trained < close
    else:
        assert from_trained > 100 * close  # the base's rounding is gone


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_losses_and_another_seed_others(
    name, pool, on, small_trial, encoded, tmp_path
):
    rate = f"training.learning_rate={expected_of(name).rate}"
    losses = []
    config = small_trial(f"method={name}", *on(name), rate)
    quantization = methods.build(config.method).base_quantization
    for number, seed in enumerate((1, 1, 2)):
        with pool.lend(config.model, quantization) as base:
            seeded = replace(config, seed=seed)
            done = fit(base, seeded, encoded, tmp_path / str(number), steps=2)
            losses.append(done.losses)
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_the_base_comes_back_untouched_after_all_of_them(pool, model_config):
    """Adapters out, hooks out, nothing trainable: what every trial after begins with."""
    from transformers import AutoModelForCausalLM

    from harness.models.loading.location import model_path

    fresh = AutoModelForCausalLM.from_pretrained(model_path(model_config), dtype=torch.float32)
    with pool.lend(model_config, None) as base:
        state, expected = base.model.state_dict(), fresh.state_dict()
        assert set(state) == set(expected)
        assert all(torch.equal(state[name], expected[name]) for name in state)
        assert not any(p.requires_grad for p in base.model.parameters())
        assert torch.equal(logits_of(base.model, IDS), logits_of(fresh.eval(), IDS))
