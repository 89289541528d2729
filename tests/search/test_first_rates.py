"""The rate that a method begins with: the published rule's, unless anything sets another."""

from __future__ import annotations

import json

import pytest

from harness.compose.command_line import compose_sweep, compose_trial
from harness.errors import InputError
from harness.methods.first_rate import published_rate
from harness.models.loading.architecture import Architecture
from harness.search.optuna_studies.study import MethodStudy
from harness.search.planning.first_rates import of_one_trial, with_first_rates

RATE = "training.learning_rate"


@pytest.fixture
def planned(tmp_path):
    """`planned(config, overrides…)`: plans by method for a model with that config, sweep, words."""

    def planned(config: dict, *overrides: str):
        (tmp_path / "config.json").write_text(json.dumps(config))
        sweep, plans = compose_sweep(["model=hub", f"model.name={tmp_path}", *overrides])
        plans, said = with_first_rates(plans)
        return {plan.method: plan for plan in plans}, sweep, "\n".join(said)

    return planned


LLAMA_8B = {"model_type": "llama", "hidden_size": 4096}
# A model of several parts has its width in the part that reads text.
QWEN_VL = {"model_type": "qwen3_vl", "text_config": {"model_type": "qwen3", "hidden_size": 2560}}


@pytest.mark.parametrize(
    ("rule", "family", "width", "rate"),
    [  # computed with bc from the constants of tinker-cookbook's hyperparam_utils.get_lr
        ("lora", "llama", 2048, 4.90823941e-4),  # Llama-3.2-1B
        ("lora", "llama", 4096, 2.85641504e-4),  # Llama-3.1-8B
        ("full", "llama", 8192, 1.66232863e-5),  # Llama-3.1-70B
        ("lora", "qwen3", 4096, 4.72979081e-4),  # Qwen3-8B
        ("full", "qwen3", 5120, 4.64869879e-5),  # Qwen3-32B
        ("full", "llama", 2000, 5e-5),
        ("full", "gpt2", 2048, None),
        ("full", "llama", 32, None),  # narrower than anything it was tried on
    ],
)
def test_the_rule_at_published_widths(rule, family, width, rate):
    found = published_rate(rule, Architecture(family, width))
    assert found == (None if rate is None else pytest.approx(rate, rel=1e-8))


def test_the_first_trial_has_the_rate_of_the_rule_and_the_search_is_around_it(planned):
    plans, sweep, said = planned(LLAMA_8B, "method=full,lora,qlora,ia3,pissa", "search.trials=4")
    rates = {name: plan.trial({}).training.learning_rate for name, plan in plans.items()}
    assert rates == {"full": 2.86e-5, "lora": 2.86e-4, "qlora": 2.86e-4, "ia3": 3e-3, "pissa": 2e-4}
    first = MethodStudy(plans["lora"], sweep, None).ask()
    assert first is not None and first.values == {"method.r": 16, RATE: 2.86e-4}
    assert str(plans["full"].space[RATE]) == "tag(log, interval(2.86e-06, 0.000286))"
    assert "full: 2.86e-05 first, searched in tag(log, interval(2.86e-06, 0.000286)); by" in said
    assert "llama of width 4096: 5e-5 × 10 × (2000/4096)^0.781 = 0.000286" in said
    assert "ia3, pissa: as configured; no rule is published" in said
    assert planned(QWEN_VL, "method=full")[0]["full"].trial({}).training.learning_rate == 4.91e-5


def test_whatever_is_set_wins(planned, tmp_path):
    plans, _, said = planned(
        LLAMA_8B, "method=full,lora", "per_method={full:['training.learning_rate=1e-5']}"
    )
    assert RATE not in plans["full"].space and "full: as it is set" in said
    assert plans["full"].trial({}).training.learning_rate == 1e-5
    plans, _, _ = planned(LLAMA_8B, "method=full", f"{RATE}=choice(1e-5,3e-5,1e-4)")
    assert str(plans["full"].space[RATE]) == "choice(1e-05, 3e-05, 0.0001)"
    assert plans["full"].trial({}).training.learning_rate == 3e-5  # the nearest to 2.86e-5
    own = tmp_path / "own/training/mine.yaml"  # sets what the defaults would be
    own.parent.mkdir(parents=True)
    own.write_text("defaults: [default, _self_]\nlearning_rate: 2e-4\n")
    arguments = (f"--config-dir={tmp_path / 'own'}", "training=mine", "method=lora")
    assert planned(LLAMA_8B, *arguments)[0]["lora"].trial({}).training.learning_rate == 2e-4
    plans, _, _ = planned(LLAMA_8B, "method=lora", "search.rate.rule=null")
    assert str(plans["lora"].space[RATE]) == "tag(log, interval(2e-05, 0.002))"
    with pytest.raises(InputError, match=r"search\.rate\.rule='ful'.*one of full, lora or null"):
        planned(LLAMA_8B, "method=lora", "search.rate.rule=ful")


def test_where_the_rule_does_not_hold_the_default_stays(planned):
    plans, _, said = planned({"model_type": "gpt2", "hidden_size": 768}, "method=full")
    assert plans["full"].trial({}).training.learning_rate == 1e-5
    assert "the published rule is not for gpt2 of width 768" in said
    assert "does not name family and width" in planned({"model_type": "mamba"}, "method=full")[2]


def test_a_trial_by_hand_has_the_rate_that_a_sweep_begins_with(planned, tmp_path):
    def by_hand(*overrides):
        model = ["model=hub", f"model.name={tmp_path}"]
        return of_one_trial(compose_trial([*model, "method=lora", *overrides])[0])

    swept = planned(LLAMA_8B, "method=lora")[0]["lora"]
    plan, said = by_hand()
    assert plan.trial({}) == swept.trial({}) and plan.overrides[-1] == f"{RATE}=0.000286"
    assert said.startswith(f"{RATE}: 0.000286, by the rule of Schulman et al. 2025 for llama of")
    assert compose_trial(plan.overrides)[0].trial({}) == plan.trial({}), "the printed command"
    plan, said = by_hand(f"{RATE}=1e-3")
    assert plan.trial({}).training.learning_rate == 1e-3 and said == f"{RATE}: 0.001, as it is set"
    assert by_hand("search.rate.rule=null")[0].trial({}).training.learning_rate == 2e-4
