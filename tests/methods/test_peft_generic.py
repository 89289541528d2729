"""method=peft: any of peft's types from the command line, and nothing but numbers and switches."""

from __future__ import annotations

import pytest
import torch
from running import fit, logits_of
from skeletons import configured

from harness.compose.command_line import compose_sweep, compose_trial
from harness.config.search_space import Choice
from harness.errors import InputError
from harness.methods.adapters.peft_generic import (
    START_OFF_BASE,
    UNSUPPORTED,
    config_class,
    settable,
)

IDS = torch.arange(3, 43).reshape(2, 20)

TYPES = {
    "LOHA": ({"r": 4, "alpha": 8}, 2e-2),
    "LOKR": ({"r": 4, "alpha": 8, "decompose_factor": 8}, 2e-2),
    "MISS": ({"r": 8}, 3e-3),
    "ROAD": ({"group_size": 32}, 1e-1),
}


@pytest.mark.parametrize("kind", TYPES)
def test_types_train_and_are_saved_and_merged(lend, trial_config, encoded, tmp_path, kind):
    fields, rate = TYPES[kind]
    typed = [f"method.config.{name}={value}" for name, value in fields.items()]
    rate = [f"training.learning_rate={rate}", "training.warmup_steps=0"]
    config = trial_config("method=peft", f"method.peft_type={kind}", *typed, *rate)
    assert dict(config.method["config"]) == fields
    with lend() as base:
        before = logits_of(base.model, IDS)
        done = fit(base, config, encoded, tmp_path, steps=8)
        assert done.losses[-1] < 0.9 * done.losses[0]
        tuned = logits_of(done.model, IDS)
        done.method.save(done.model, tmp_path / "saved")
        own = done.model.peft_config["default"]
        assert own.peft_type.value == kind
        assert {name: getattr(own, name) for name in fields} == fields
    close = 1e-5 * float(tuned.abs().max())
    with lend() as base:
        loaded = done.method.load(base.model, tmp_path / "saved")
        assert float((logits_of(loaded, IDS) - tuned).abs().max()) < close
        assert float((logits_of(done.method.merged(loaded), IDS) - tuned).abs().max()) < close
    assert float((tuned - before).abs().max()) > 0.1


@pytest.mark.parametrize("kind", [*START_OFF_BASE, "LOHA", "MISS", "HRA"])
def test_where_a_type_starts(lend, kind):
    fields = {"C3A": {"block_size": 32}}.get(kind, {})
    method = configured("peft", peft_type=kind, config=fields)
    with lend() as base:
        before = logits_of(base.model, IDS)
        torch.manual_seed(0)
        start = logits_of(method.adapt(base.model, None), IDS)
    difference = float((start - before).abs().max())
    assert method.starts_at_base == (kind not in START_OFF_BASE)
    assert difference < 1e-4 if method.starts_at_base else difference > 1e-4


def test_keys_below_config_are_typed_without_a_plus_and_can_be_searched():
    arguments = ["method=peft,full", "method.peft_type=LOKR", "method.config.r=choice(4,8)"]
    _, plans = compose_sweep([*arguments, "tracking=none"])
    assert plans[0].space["method.config.r"] == Choice((4, 8))
    assert "method.config.r" not in plans[1].space  # full has no such mapping
    assert plans[0].trial({"method.config.r": 8}).method["config"] == {"r": 8}
    plan, _ = compose_trial(["method=peft", "method.config.alpha=4", "+method.config.r=2"])
    assert plan.trial({}).method["config"] == {"alpha": 4, "r": 2}
    again, _ = compose_trial(list(plan.overrides))
    assert again.trial({}) == plan.trial({})
    for wrong in (["method=lora", "method.config.r=8"], ["method=peft", "method.confg.r=8"]):
        with pytest.raises(InputError, match="Unknown key"):
            compose_trial(wrong)


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        ("LOHAA", {}, r"Unknown method\.peft_type 'LOHAA'. Did you mean LOHA"),
        ("ADALORA", {}, r"method\.peft_type='ADALORA' .* use method=adalora"),
        ("XLORA", {}, r"method\.peft_type='XLORA'"),
        ("LOHA", {"rnk": 8}, r"Unknown key in method\.config of LOHA 'rnk'"),
        ("LOHA", {"rank_dropot": 0.1}, r"Did you mean rank_dropout"),
        (
            "LOHA",
            {"r": "eight"},
            r"method\.config\.r='eight' cannot be used: it must be an integer",
        ),
        ("LOHA", {"target_modules": ["x"]}, r"Unknown key .* 'target_modules'"),
        ("LOHA", {"base_model_name_or_path": "/etc"}, "Unknown key .* 'base_model_name_or_path'"),
        ("LORA", {"megatron_core": "os"}, r"Unknown key .* 'megatron_core'"),
        ("LORA", {"init_lora_weights": "nonsense"}, r"init_lora_weights='nonsense' cannot be used"),
        ("LOHA", {"modules_to_save": ["lm_head"]}, r"Unknown key .* 'modules_to_save'"),
    ],
)
def test_what_cannot_be_set_is_refused(lend, kind, config, message):
    with lend() as base, pytest.raises(InputError, match=message):
        configured("peft", peft_type=kind, config=config).check(base.model)


def test_no_text_of_any_type_can_name_a_file_or_code():
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    kinds = {kind.value for kind in PEFT_TYPE_TO_CONFIG_MAPPING} - set(UNSUPPORTED)
    assert len(kinds) > 25
    for kind in kinds:
        hints = settable(config_class(kind))
        assert str not in hints.values(), kind
        names = " ".join(hints)
        assert not any(
            word in names for word in ("path", "file", "megatron", "adapters", "module_s")
        )


def test_what_peft_itself_refuses_is_one_message(lend):
    method = configured("peft", peft_type="VBLORA")
    with lend() as base, pytest.raises(InputError, match=r"VBLORA .* must be divisible"):
        method.adapt(base.model, None)
    assert "merging" in str(configured("peft", peft_type="LILY").cannot_merge)
