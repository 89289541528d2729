"""Registry of the fine-tuning methods: one class and one YAML each.

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
class SizeMatch:
    """Quantity that is made equal for all methods of a sweep (``method.match``)."""

    trainable_parameters: int | None  # None: each method keeps its configured size

    def __post_init__(self) -> None:
        n = self.trainable_parameters
        accepted = "null or an integer of at least 1"
        require(n is None or n >= 1, "method.match.trainable_parameters", n, accepted)


def build(config: Mapping[str, Any]) -> Method:
    """Build the method named by ``config`` from its configured fields.

    Raises InputError for an unknown name or field and for a value outside its range.
    """
    _match(config)
    options = {key: value for key, value in config.items() if key not in ("name", "match")}
    return from_mapping(_class(config), options, "method")


def fitted(config: Mapping[str, Any], model: nn.Module) -> Method:
    """Build the method named by ``config`` at the size that ``method.match`` asks for.

    ``model`` is the base, or a skeleton of it without weights. The method's settings are checked
    against it. Raises InputError if a setting does not suit the model or no size matches.
    """
    method = build(config)
    wanted = _match(config).trainable_parameters
    if wanted is not None:
        method = method.matched(model, wanted)
    method.check(model)
    return method


def derived(config: Mapping[str, Any], method: Method) -> dict[str, Any]:
    """Return the fields of a ``fitted`` method whose values differ from ``config``."""
    written = build(config)
    pairs = {f.name: (getattr(method, f.name), getattr(written, f.name)) for f in fields(written)}
    return {name: value for name, (value, configured) in pairs.items() if value != configured}


def matched_key(config: Mapping[str, Any]) -> str | None:
    """Return the key of the field that ``method.match`` determines, or None.

    A sweep can neither set nor search this key. Raises InputError for an unknown method.
    """
    field = _class(config).size_field
    return f"method.{field}" if field and _match(config).trainable_parameters is not None else None


def _class(config: Mapping[str, Any]) -> type[Method]:
    """Return the class of the method named by ``config``."""
    name = config.get("name")
    if name not in METHODS and name in PROBLEMS:
        raise InputError(PROBLEMS[str(name)])
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name]


def _match(config: Mapping[str, Any]) -> SizeMatch:
    default = {"trainable_parameters": None}
    return from_mapping(SizeMatch, config.get("match") or default, "method.match")


@cache
def free_fields() -> tuple[str, ...]:
    """Return the keys ``method.<field>`` whose values are mappings with arbitrary keys."""
    return tuple(
        f"method.{name}"
        for cls in METHODS.values()
        for name, hint in get_type_hints(cls).items()
        if get_origin(hint) is Mapping
    )


def field_names(name: str) -> list[str]:
    """Return the fields that can be set as ``method.<field>``; [] for an unknown method."""
    return [field.name for field in fields(METHODS[name])] if name in METHODS else []
