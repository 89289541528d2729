"""``method.match.trainable_parameters``: what it accepts, what it decides, and that it is equal."""

from __future__ import annotations

import pytest
from sweeping import composed

from harness import methods
from harness.errors import InputError
from harness.methods import METHODS
from harness.models.loading.skeleton import load_skeleton

MATCH = "method.match.trainable_parameters"
RATE = "training.learning_rate"


def test_the_size_is_not_searched_where_match_decides_it():
    def spaces(*typed):
        _, plans = composed("method=lora,prompt_tuning,adalora,ulmfit,full", *typed)
        return {name: set(plan.space) for name, plan in plans.items()}

    searched, matched = spaces(), spaces(f"{MATCH}=20000")
    left = {name: searched[name] - matched[name] for name in searched}
    assert left == {
        "lora": {"method.r"},
        "prompt_tuning": {"method.num_virtual_tokens"},
        "adalora": {"method.target_r"},
        "ulmfit": set(),  # its size is not searched to begin with
        "full": set(),
    }
    assert all(RATE in space for space in matched.values())


@pytest.mark.parametrize("typed", ["method.r=4", "method.r=choice(4,8)"])
def test_the_size_cannot_be_typed_as_well(typed):
    with pytest.raises(InputError, match=r"method\.r follows from .*=20000; leave one of them out"):
        composed("method=lora", f"{MATCH}=20000", typed)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (f"{MATCH}=0", "trainable_parameters=0 .* integer of at least 1"),
        (f"{MATCH}=2.5", "trainable_parameters=2.5 .* integer"),
        (f"{MATCH}=many", "trainable_parameters='many' .* integer"),
        ("+method.match.trainable_parameter=9", "Did you mean trainable_parameters"),
        ("method.match=9", "method.match=9 .* mapping"),
    ],
)
def test_what_match_cannot_be(typed, said):
    with pytest.raises(InputError, match=said):
        composed("method=lora", typed)


def test_every_size_that_match_decides_is_a_field():
    """A class that can be matched names the field; one that names a field can be matched."""
    for name, method in METHODS.items():
        can = method.matched is not methods.Method.matched
        assert can == (method.size_field is not None), name
        assert method.size_field is None or method.size_field in methods.field_names(name)


def test_what_match_decides_is_told_apart(model_config):
    skeleton = load_skeleton(model_config)
    _, plans = composed("method=prompt_tuning,ulmfit,lora,full", f"{MATCH}=500000")
    configs = {name: plan.trial({}).method for name, plan in plans.items()}
    tokens = {**configs["prompt_tuning"], "match": {"trainable_parameters": 1300}}
    assert methods.derived(tokens, methods.fitted(tokens, skeleton)) == {"num_virtual_tokens": 10}
    # Blocks of 4·128² + 3·128·384 + 2·128 parameters, the final norm with the top one.
    assert methods.derived(configs["ulmfit"], methods.fitted(configs["ulmfit"], skeleton)) == {
        "layer_groups": 2
    }
    unmatched = {**configs["lora"], "match": {"trainable_parameters": None}}
    assert methods.derived(unmatched, methods.fitted(unmatched, skeleton)) == {}
    with pytest.raises(InputError, match=r"match\.trainable_parameters cannot be used with Full"):
        methods.fitted(configs["full"], skeleton)


def test_equal_means_within_one_step_of_size(lend, trial_config):
    """Count the trained parameters in the model itself."""
    from running import adapted

    from harness.trials.cost import sizes

    asked = 20_000
    one_more = {"lora": 10240, "prompt_tuning": 128, "p_tuning_v2": 1024}  # parameters each
    for name, step in one_more.items():
        with lend() as base:
            begun = adapted(base, trial_config(f"method={name}", f"{MATCH}={asked}"))
            n = sizes(begun.model)["trainable_parameters"]
        assert asked - step < n <= asked, name
