"""Ways to make a base trainable. One class and one YAML each; this dict is the only list of them.

Importing this package loads neither torch nor peft: configurations are checked in a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from harness.errors import unknown
from harness.methods.adalora import AdaLoRA
from harness.methods.base import AdaptPlan, Method
from harness.methods.full import Full
from harness.methods.lora import LoRA, QLoRA
from harness.methods.prompt_tuning import PromptTuning
from harness.methods.ulmfit import ULMFiT
from harness.strict import build as build_dataclass

METHODS: dict[str, type[Method]] = {
    "full": Full,
    "ulmfit": ULMFiT,
    "lora": LoRA,
    "qlora": QLoRA,
    "adalora": AdaLoRA,
    "prompt_tuning": PromptTuning,
}

__all__ = ["METHODS", "AdaptPlan", "Method", "build", "field_names"]


def build(config: Mapping[str, Any]) -> Method:
    """The method that ``config`` names, with its fields. Raises InputError."""
    options = dict(config)
    name = options.pop("name", None)
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return build_dataclass(METHODS[name], options, "method")


def field_names(name: str) -> list[str]:
    """What can be set as ``method.<field>`` for that method; [] for an unknown one."""
    return [field.name for field in fields(METHODS[name])] if name in METHODS else []
