"""AdaLoRA: budget, importance, orthogonality penalty, and a loss without the penalty."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from running import adapted, fit, logits_of
from skeletons import configured

from harness.errors import InputError
from harness.evaluation.likelihood import sequence_nll
from harness.methods.base import AdaptContext
from harness.methods.low_rank.adalora import orthogonality


def adalora(**changes):
    return configured("adalora", **{"init_r": 12, "lora_alpha": 32.0, **changes})


def allocator(layers, total_steps, **changes):
    """peft's allocator on a skeleton with ``layers`` × 6 matrices (q, k, v, o, up, down)."""
    from transformers import AutoConfig, AutoModelForCausalLM

    small = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2, "vocab_size": 8}
    with torch.device("meta"):
        config = AutoConfig.for_model("llama", num_hidden_layers=layers, **small)
        model = AutoModelForCausalLM.from_config(config)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj"]
    method = adalora(target_modules=targets, **changes)
    adapted_model = method.adapt(model, AdaptContext(total_steps, total_steps, None, None, 0))
    return adapted_model.base_model.rankallocator


def test_budget_over_72_matrices():
    share = {"initial_warmup_fraction": 500 / 3000, "final_fraction": 0.5}
    budget = allocator(12, 3000, **share).budget_schedule
    steps = [500, 501, 510, 600, 750, 1000, 1250, 1499, 1500]
    expected = [864, 863, 855, 785, 697, 612, 580, 576, 576]
    assert [budget(step)[0] for step in steps] == expected


def test_budget_over_24_matrices_is_not_the_printed_equation():
    share = {"initial_warmup_fraction": 0.1, "final_fraction": 0.2}
    budget = allocator(4, 100, **share).budget_schedule
    steps = [10, 11, 20, 45, 55, 79, 80]
    assert [budget(step)[0] for step in steps] == [288, 283, 252, 204, 196, 192, 192]


@pytest.mark.parametrize("total", [3, 4, 7, 10, 33, 100, 999])
def test_times_come_from_the_length_of_the_run(lend, total):
    with lend() as base:
        model = adalora().adapt(base.model, AdaptContext(total, total, None, None, 0))
        config = model.peft_config["default"]
        schedule = model.base_model.rankallocator.budget_schedule
        assert config.total_step == total
        assert config.tinit == int(0.15 * total)
        plan = AdaptContext(total, total, None, None, 0)
        assert adalora().comparable_from(model, plan) == config.tinit, "no trial is pruned before"
        assert config.tfinal == max(1, int(0.3 * total))
        budgets = [schedule(step)[0] for step in range(total)]
    assert budgets[0] == 28 * 12
    assert budgets == sorted(budgets, reverse=True)
    assert budgets[total - config.tfinal] == 28 * 8
    assert budgets[-1] == 28 * 8


@pytest.mark.parametrize("total", [1, 2])
def test_runs_too_short_to_shrink_are_refused_or_shrink(lend, total):
    with lend() as base:
        if total == 1:
            with pytest.raises(InputError, match=r"training\.max_steps=1"):
                adalora().adapt(base.model, AdaptContext(total, total, None, None, 0))
        else:
            model = adalora().adapt(base.model, AdaptContext(total, total, None, None, 0))
            assert model.base_model.rankallocator.budget_schedule(1)[0] == 28 * 8


@pytest.mark.parametrize(("target", "initial"), [(1, 2), (2, 3), (4, 6), (8, 12), (3, 5)])
def test_initial_rank_is_one_and_a_half_times_the_target(lend, target, initial):
    with lend() as base:
        method = adalora(init_r=None, target_r=target)
        model = method.adapt(base.model, AdaptContext(10, 10, None, None, 0))
        ranks = {p.shape[0] for n, p in model.named_parameters() if "lora_E" in n}
    assert ranks == {initial}


def test_importance_is_smoothed_as_in_the_paper():
    """Sensitivity and uncertainty by hand: one weight, three (weight, gradient) pairs."""
    ranks = allocator(1, 100)
    weight = torch.nn.Parameter(torch.zeros(1, 1))

    class One:
        def named_parameters(self):
            return [("lora_E.default", weight)]

    expected = [(0.15, 0.1275), (0.2025, 0.153), (0.397125, 0.29548125)]
    scores = [0.019125, 0.0309825, 0.117342991]
    given = [(2.0, 0.5), (2.0, -0.25), (1.5, 1.0)]
    for (value, gradient), (mean, spread), score in zip(given, expected, scores, strict=True):
        weight.data.fill_(value)
        weight.grad = torch.full((1, 1), gradient)
        ranks.update_ipt(One())
        assert float(ranks.exp_avg_ipt["lora_E.default"]) == pytest.approx(mean)
        assert float(ranks.exp_avg_unc["lora_E.default"]) == pytest.approx(spread)
        assert float(ranks._element_score("lora_E.default")) == pytest.approx(score, rel=1e-6)


def test_triplets_are_scored_and_the_least_lose_their_value():
    """Scores of triplets by hand: S = [.7, .2, .45]; a budget of two takes the second triplet."""
    ranks = allocator(1, 100)
    # peft's lora_A is (r, in) and lora_B (out, r).
    scores = {
        "m.lora_A.default": torch.tensor([[0.1, 0.3], [0.0, 0.1], [0.2, 0.2]]),
        "m.lora_B.default": torch.tensor([[0.1, 0.1, 0.0], [0.3, 0.1, 0.1]]),
        "m.lora_E.default": torch.tensor([[0.3], [0.05], [0.2]]),
    }
    parameters = {name: torch.nn.Parameter(torch.ones_like(s)) for name, s in scores.items()}

    class One:
        def named_parameters(self):
            return list(parameters.items())

    ranks.exp_avg_ipt = scores
    ranks.exp_avg_unc = {name: torch.ones_like(s) for name, s in scores.items()}
    ranks.init_bgt = 3
    patterns = [ranks.mask_to_budget(One(), budget)["m.lora_E.default"] for budget in (2, 1)]
    assert patterns == [[True, False, True], [True, False, False]]
    # Exactly those scores: the paper's means over rows and columns.
    by_hand = [
        scores["m.lora_E.default"][i].item()
        + scores["m.lora_A.default"][i].mean().item()
        + scores["m.lora_B.default"][:, i].mean().item()
        for i in range(3)
    ]
    assert by_hand == pytest.approx([0.7, 0.2, 0.45])


def test_orthogonality_of_one_matrix():
    """The penalty by hand: P = 2·I (3 × 2) has PᵀP − I = 3·I, of Frobenius norm √18."""
    p = torch.zeros(3, 2)
    p[0, 0] = p[1, 1] = 2.0
    assert float(orthogonality(p)) == pytest.approx(18**0.5)
    square = torch.linalg.qr(torch.randn(5, 3, generator=torch.Generator().manual_seed(0))).Q
    assert float(orthogonality(square)) < 1e-5


def test_penalty_is_what_peft_adds_to_its_loss(lend, trial_config, encoded):
    config = trial_config("method=adalora", "method.orthogonality_weight=0.3")
    with lend() as base:
        done = adapted(base, config)
        ids = torch.from_numpy(encoded.sequence(0)[None].astype("int64"))
        outputs = done.model(input_ids=ids, labels=ids)
        pure = torch.nn.functional.cross_entropy(outputs.logits[0, :-1], ids[0, 1:])
        penalty = done.method.penalty(done.model)
        assert float(penalty) == pytest.approx(float(outputs.loss - pure), rel=1e-4)
        penalty.backward()
        touched = {n.split(".")[-2] for n, p in done.model.named_parameters() if p.grad is not None}
    assert touched == {"lora_A", "lora_B"}


def test_penalty_does_not_grow_with_depth():
    """The same γ holds for 2 and for 28 blocks."""
    from transformers import AutoConfig, AutoModelForCausalLM

    small = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2, "vocab_size": 8}
    found = []
    for layers in (2, 28):
        torch.manual_seed(0)
        config = AutoConfig.for_model("llama", num_hidden_layers=layers, **small)
        method = adalora(target_modules="all-linear")
        plan = AdaptContext(10, 10, None, None, 0)
        model = method.adapt(AutoModelForCausalLM.from_config(config), plan)
        found.append(float(method.penalty(model)))
    assert found[1] == pytest.approx(found[0], rel=0.01)


def test_nll_at_the_start_is_the_bases_and_outputs_loss_is_not(lend, trial_config, encoded):
    with lend() as base:
        expected, _ = sequence_nll(base.model, encoded, 8, "cpu")
        done = adapted(base, trial_config("method=adalora"))
        nll, _ = sequence_nll(done.model, encoded, 8, "cpu")
        ids = torch.from_numpy(encoded.sequence(0)[None].astype("int64"))
        with torch.no_grad():
            outputs = done.model(input_ids=ids, labels=ids)
        pure = torch.nn.functional.cross_entropy(outputs.logits[0, :-1], ids[0, 1:])
    assert nll == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert float(outputs.loss) > float(pure) + 0.1  # what peft calls the loss is another thing


@pytest.fixture(scope="module")
def run(pool, model_config, trial_config, encoded, tmp_path_factory):
    """20 steps: budget full until 3, shrinking until 14, final from there."""
    config = trial_config("method=adalora", "method.target_r=4", "training.learning_rate=1e-2")
    patterns, alive = [], []

    def watch(done, row):
        patterns.append(dict(done.model.peft_config["default"].rank_pattern or {}))
        alive.append(
            {
                name.removeprefix("base_model.model."): (p != 0).flatten().tolist()
                for name, p in done.model.named_parameters()
                if "lora_E" in name
            }
        )

    with pool.lend(model_config, None) as base:
        folder = tmp_path_factory.mktemp("adalora")
        done = fit(base, config, encoded, folder, steps=20, on_step=watch)
        done.model.save_pretrained(folder / "saved")
    return patterns, alive, folder / "saved", done


def test_ranks_move_and_the_final_budget_is_met_exactly(run):
    patterns, alive, _, _ = run
    sums = [sum(map(sum, pattern.values())) for pattern in patterns]
    assert sums[3] == 0  # nothing was taken yet: no pattern
    assert sums[4:] == sorted(sums[4:], reverse=True)
    assert len({str(pattern) for pattern in patterns[4:]}) > 3
    assert sums[-1] == sums[14] == 28 * 4
    final = patterns[-1]
    assert len(set(map(sum, final.values()))) > 1  # the ranks of the matrices differ
    assert patterns[14] == final
    assert final == alive[-1]


def test_what_is_saved_has_the_final_ranks(run):
    from safetensors.torch import load_file

    _patterns, _, saved, _ = run
    kept = load_file(saved / "adapter_model.safetensors")
    rows = sum(t.shape[0] for name, t in kept.items() if "lora_E" in name)
    assert rows == 28 * 4


def test_pruned_values_stay_zero_whatever_the_optimizer_remembers(run):
    patterns, alive, _, _ = run
    for step in range(14, 20):
        for name, mask in patterns[14].items():
            held = [value for value, kept in zip(alive[step][name], mask, strict=True) if not kept]
            assert not any(held), (step, name)


def test_matrices_that_lost_every_rank_are_saved_and_loaded(
    pool, model_config, trial_config, encoded, tmp_path
):
    from peft import PeftModel

    config = trial_config("method=adalora", "method.target_r=1", "training.learning_rate=1e-2")
    ids = torch.arange(3, 43).reshape(2, 20)
    with pool.lend(model_config, None) as base:
        done = fit(base, config, encoded, tmp_path / "c", steps=12)
        ranks = [sum(mask) for mask in done.model.peft_config["default"].rank_pattern.values()]
        assert min(ranks) == 0
        expected = logits_of(done.model, ids)
        done.model.save_pretrained(tmp_path / "saved")
    with pool.lend(model_config, None) as base:
        again = logits_of(PeftModel.from_pretrained(base.model, tmp_path / "saved"), ids)
    assert float((again - expected).abs().max()) < 1e-5 * float(expected.abs().max())


def test_reallocating_every_few_steps(pool, model_config, trial_config, encoded, tmp_path):
    config = trial_config("method=adalora", "method.target_r=2", "training.learning_rate=1e-2")
    config = replace(config, method={**config.method, "reallocate_every_steps": 3})
    with pool.lend(model_config, None) as base:
        done = fit(base, config, encoded, tmp_path, steps=10)
        pattern = done.model.peft_config["default"].rank_pattern
        assert sum(map(sum, pattern.values())) == 28 * 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"init_r": 8},
        {"target_r": 0},
        {"beta1": 0.0},
        {"beta2": 1.0},
        {"initial_warmup_fraction": 0.7},
        {"reallocate_every_steps": 0},
        {"orthogonality_weight": -0.1},
    ],
)
def test_values_that_cannot_be_used(wrong):
    with pytest.raises(InputError, match=f"method.{next(iter(wrong))}"):
        adalora(**wrong)


def test_ranks_by_module_add_up_to_the_final_budget(lend, trial_config, encoded, tmp_path):
    config = trial_config("method=adalora", "method.target_r=4", "training.learning_rate=1e-2")
    with lend() as base:
        modules = {n for n, m in base.model.named_modules() if n.endswith("_proj")}
        done = fit(base, config, encoded, tmp_path, steps=12)
        ranks = done.method.describe(done.model)["ranks"]
    assert set(ranks) == modules
    assert sum(ranks.values()) == 4 * len(modules)
    assert len(set(ranks.values())) > 1  # it did move
