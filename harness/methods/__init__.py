"""Ways to make a base trainable. One class and one YAML each; this dict is the only list of them.

Importing this package loads neither torch nor peft: configurations are checked in a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from harness.errors import unknown
from harness.methods.adalora import AdaLoRA
from harness.methods.base import AdaptPlan, Method
from harness.methods.full import Full
from harness.methods.lora import LoRA, QLoRA
from harness.methods.prompt_tuning import PromptTuning
from harness.methods.ulmfit import ULMFiT
from harness.strict import build as build_dataclass

if TYPE_CHECKING:
    from torch import nn

METHODS: dict[str, type[Method]] = {
    "full": Full,
    "ulmfit": ULMFiT,
    "lora": LoRA,
    "qlora": QLoRA,
    "adalora": AdaLoRA,
    "prompt_tuning": PromptTuning,
}

__all__ = ["METHODS", "AdaptPlan", "Method", "build", "field_names", "fitted"]


def build(config: Mapping[str, Any]) -> Method:
    """The method that ``config`` names, with its fields. Raises InputError."""
    options = dict(config)
    options.pop("match", None)  # needs the model: see fitted
    name = options.pop("name", None)
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return build_dataclass(METHODS[name], options, "method")


def fitted(config: Mapping[str, Any], model: nn.Module) -> Method:
    """The method that ``config`` names, at the size that ``match`` asks for on ``model``.

    Checked against ``model``, of which a skeleton without weights will do. Raises InputError.
    """
    method = build(config)
    wanted = (config.get("match") or {}).get("trainable_parameters")
    if wanted is not None:
        method = method.matched(model, wanted)
    method.check(model)
    return method


def field_names(name: str) -> list[str]:
    """What can be set as ``method.<field>`` for that method; [] for an unknown one."""
    return [field.name for field in fields(METHODS[name])] if name in METHODS else []
