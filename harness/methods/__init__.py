"""Fine-tuning methods: one class and one YAML each. This dict is the only list of them.

Installed packages may add to it, see ``plugged_in``.

Importing this package loads neither torch nor peft, so configurations are checked in a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import TYPE_CHECKING, Any, get_origin, get_type_hints

from harness.config.strict import from_mapping, require
from harness.errors import InputError, unknown
from harness.methods.adapters.bitfit import BitFit
from harness.methods.adapters.ia3 import IA3
from harness.methods.adapters.norms import LNTuning
from harness.methods.adapters.oft import OFT
from harness.methods.adapters.peft_generic import Peft
from harness.methods.adapters.shira import SHiRA
from harness.methods.base import AdaptContext, Method
from harness.methods.full import Full
from harness.methods.importance.forest import ForestImportance
from harness.methods.importance.importance_mask import ImportanceMask, RandomMask
from harness.methods.low_rank.adalora import AdaLoRA
from harness.methods.low_rank.lora import LoRA, QLoRA
from harness.methods.low_rank.vera import VeRA
from harness.methods.plugged_in import plugged_in
from harness.methods.prompts.p_tuning import PTuning
from harness.methods.prompts.prefix_tuning import PrefixTuning
from harness.methods.prompts.prompt_tuning import PromptTuning
from harness.methods.ulmfit import ULMFiT

if TYPE_CHECKING:
    from torch import nn

METHODS: dict[str, type[Method]] = {
    "full": Full,
    "ulmfit": ULMFiT,
    "lora": LoRA,
    "qlora": QLoRA,
    "adalora": AdaLoRA,
    "vera": VeRA,
    "ia3": IA3,
    "ln_tuning": LNTuning,
    "bitfit": BitFit,
    "oft": OFT,
    "shira": SHiRA,
    "peft": Peft,
    "prompt_tuning": PromptTuning,
    "prefix_tuning": PrefixTuning,
    "p_tuning": PTuning,
    "importance_mask": ImportanceMask,
    "random_mask": RandomMask,
    "forest_importance": ForestImportance,
}
_OTHERS = plugged_in(METHODS)
METHODS |= _OTHERS.classes
PROBLEMS = _OTHERS.problems  # installed methods of other packages that cannot be used, and why

__all__ = [
    "METHODS",
    "PROBLEMS",
    "AdaptContext",
    "Method",
    "build",
    "derived",
    "field_names",
    "fitted",
    "free_fields",
    "matched_key",
]


@dataclass(frozen=True)
class Match:
    """Quantity in which the methods of a sweep are made equal."""

    trainable_parameters: int | None

    def __post_init__(self) -> None:
        n = self.trainable_parameters
        accepted = "null or an integer of at least 1"
        require(n is None or n >= 1, "method.match.trainable_parameters", n, accepted)


def build(config: Mapping[str, Any]) -> Method:
    """Build the method that ``config`` names, with its configured fields. Raises InputError."""
    _match(config)
    options = {key: value for key, value in config.items() if key not in ("name", "match")}
    return from_mapping(_class(config), options, "method")


def fitted(config: Mapping[str, Any], model: nn.Module) -> Method:
    """Build the method that ``config`` names, at the size that ``match`` requires on ``model``.

    Checked against ``model``, which may be a skeleton without weights. Raises InputError.
    """
    method = build(config)
    wanted = _match(config).trainable_parameters
    if wanted is not None:
        method = method.matched(model, wanted)
    method.check(model)
    return method


def derived(config: Mapping[str, Any], method: Method) -> dict[str, Any]:
    """For a ``fitted`` method, return the fields that differ from ``config``."""
    written = build(config)
    both = {f.name: (getattr(method, f.name), getattr(written, f.name)) for f in fields(written)}
    return {name: value for name, (value, before) in both.items() if value != before}


def matched_key(config: Mapping[str, Any]) -> str | None:
    """Return the key that ``match`` sets, which is neither set nor searched otherwise.

    Raises InputError.
    """
    field = _class(config).size_field
    return f"method.{field}" if field and _match(config).trainable_parameters is not None else None


def _class(config: Mapping[str, Any]) -> type[Method]:
    name = config.get("name")
    if name not in METHODS and name in PROBLEMS:
        raise InputError(PROBLEMS[str(name)])
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name]


def _match(config: Mapping[str, Any]) -> Match:
    default = {"trainable_parameters": None}
    return from_mapping(Match, config.get("match") or default, "method.match")


@cache
def free_fields() -> tuple[str, ...]:
    """Return the keys ``method.<field>`` that are mappings with free keys."""
    return tuple(
        f"method.{name}"
        for cls in METHODS.values()
        for name, hint in get_type_hints(cls).items()
        if get_origin(hint) is Mapping
    )


def field_names(name: str) -> list[str]:
    """Return the names that can be set as ``method.<field>``; [] for an unknown method."""
    return [field.name for field in fields(METHODS[name])] if name in METHODS else []
