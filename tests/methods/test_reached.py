"""Adapted modules are those that text passes through, and no others that peft would take."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from skeletons import PLAN, configured, skeleton
from tiny import built

from bench.tiny_architectures import TINY
from harness.errors import InputError
from harness.methods.targets import chosen_modules
from harness.models.pool import _strip
from harness.models.text_layers import reached_by_text, read_by_others

MIXED = ["Gemma 3 with vision", "Jamba", "Mamba", "Mixtral", "Llama 4", "Qwen3-Next", "Falcon"]


@pytest.mark.parametrize("architecture", MIXED)
def test_a_skeleton_tells_what_the_model_does(architecture):
    kind, fields = TINY[architecture]
    model, bare = built(architecture), skeleton(kind, **fields)
    assert reached_by_text(bare).keys() == reached_by_text(model).keys()
    assert read_by_others(bare) == read_by_others(model)


def test_an_image_tower_is_no_target():
    model = built("Gemma 3 with vision")
    chosen = chosen_modules(model, "all-linear")
    assert len(chosen) == 2 * 7 and all("language_model" in name for name in chosen)
    with pytest.raises(InputError, match=r"does not run through model\.vision_tower"):
        chosen_modules(model, ["fc1"])


@pytest.mark.parametrize(
    ("architecture", "left_out"),
    [("Jamba", {"dt_proj", "out_proj"}), ("Llama 4", {"router"}), ("Falcon", set())],
)
def test_what_is_read_or_gives_more_than_a_tensor_is_none(architecture, left_out):
    model = built(architecture)
    linear = {n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)} - {"lm_head"}
    missing = linear - chosen_modules(model, "all-linear").keys()
    assert {name.rpartition(".")[2] for name in missing} == left_out


@pytest.mark.parametrize("method", ["lora", "dora", "adalora", "vera", "oft"])
@pytest.mark.parametrize("architecture", ["Mamba", "Qwen3-Next", "DeepSeek-V3"])
def test_what_was_chosen_is_adapted_and_the_base_comes_back(architecture, method):
    """peft takes names of dense and shared MLPs for those of experts, and refuses Mamba's out_proj."""
    model = built(architecture)
    before = [(name, type(module)) for name, module in model.named_modules()]
    chosen = set(chosen_modules(model, "all-linear"))
    size = {"oft": {"block_size": 2}}.get(method, {})
    tuned = configured(method, target_modules="all-linear", **size).adapt(model, PLAN)
    assert set(tuned.base_model.targeted_module_names) == chosen
    _strip(model)
    assert [(name, type(module)) for name, module in model.named_modules()] == before


def test_an_adapter_beside_a_shared_expert_comes_back_from_disk(tmp_path):
    method = configured("lora", target_modules="mlp", r=2)
    tuned = method.adapt(built("Qwen3-Next"), PLAN).eval()
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if ".lora_B." in name:
                parameter.normal_()
    ids = torch.arange(3, 15)[None]
    method.save(tuned, tmp_path)
    again = method.load(built("Qwen3-Next"), tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(again(input_ids=ids).logits, tuned(input_ids=ids).logits)


def test_nested_wrappers_come_off_from_the_outside_in():
    from peft import LoraConfig, get_peft_model

    model = built("Mixtral")
    before = list(model.state_dict())
    both = ["experts.gate_up_proj", "experts.down_proj"]
    get_peft_model(model, LoraConfig(target_modules=[], target_parameters=both))
    _strip(model)
    assert list(model.state_dict()) == before  # one that held itself would have no end


def test_what_peft_would_adapt_instead_is_refused(monkeypatch):
    """As before its names were left as they are."""
    from contextlib import nullcontext

    from harness.methods import with_peft

    monkeypatch.setattr(with_peft, "layer_names_as_they_are", nullcontext)
    with pytest.raises(InputError, match=r"LORA leaves out model\.layers\.0\.mlp\.shared"):
        configured("lora", target_modules="all-linear").adapt(built("Qwen3-Next"), PLAN)


def test_a_model_that_no_text_can_be_given_keeps_all_its_layers():
    model = torch.nn.Module()
    model.text, model.image_tower = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    assert list(reached_by_text(model)) == ["text"]
    assert SimpleNamespace(**chosen_modules(model, "all-linear")).text == (2, 2)
