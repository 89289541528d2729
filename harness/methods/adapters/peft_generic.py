"""Adapter types of peft without a class here, selected by peft's type name."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields, make_dataclass
from typing import TYPE_CHECKING, Any, Literal

from harness.config.strict import from_mapping, require
from harness.errors import refused_by_library, unknown
from harness.language import recorded
from harness.methods.base import AdaptContext, Method
from harness.methods.targets import chosen_modules, resolve_targets
from harness.methods.with_peft import put_adapter

if TYPE_CHECKING:
    from torch import nn

# Types that a configuration alone cannot run, with the reason or the method to use instead.
UNSUPPORTED = {
    "ADALORA": "its budget moves after every step: use method=adalora",
    "PROMPT_TUNING": "use method=prompt_tuning",
    "P_TUNING": "use method=p_tuning",
    "PREFIX_TUNING": "use method=prefix_tuning",
    "MULTITASK_PROMPT_TUNING": "it needs several tasks",
    "POLY": "it needs several tasks",
    "CPT": "it needs a mask for every token of its prompt",
    "CARTRIDGE": "it needs a prefix that was computed beforehand",
    "XLORA": "it mixes adapters that were trained beforehand",
    "SHADOW": "it needs a second model",
    "ADAPTION_PROMPT": "its configuration lists layer numbers, which method.config cannot hold",
    "TRAINABLE_TOKENS": "it trains rows of the embeddings, which method.target_modules cannot select",
    "LN_TUNING": "use method=ln_tuning",
}
# Types whose logits differ from the base's before the first step, with peft's defaults (measured).
START_OFF_BASE = ("C3A", "FOURIERFT", "UNILORA")


@dataclass(frozen=True)
class Peft(Method):
    """Adapt a model with the peft type ``peft_type`` (peft's PeftType), configured by ``config``.

    ``config`` accepts numbers, switches and fixed choices. It accepts no names of code, files or
    models.
    """

    peft_type: str
    target_modules: str | list[str]  # used by types that adapt linear layers
    config: Mapping[str, Any]

    def __post_init__(self) -> None:
        reason = UNSUPPORTED.get(self.peft_type)
        require(reason is None, "method.peft_type", self.peft_type, f"another type ({reason})")

    @property
    def starts_at_base(self) -> bool:
        """True for types known to start at the base, with peft's default ``init_weights``."""
        at_base = self.peft_type not in START_OFF_BASE
        return at_base and self.config.get("init_weights", True) is True

    @property
    def cannot_shard(self) -> str | None:
        return "layers of these types may share tensors"

    @property
    def cannot_merge(self) -> str | None:
        if self.peft_type not in ("LILY", "BEFT"):
            return None
        return recorded("peft has no merging for {kind}", kind=self.peft_type)

    def check(self, model: nn.Module) -> None:
        known = settable(config_class(self.peft_type))
        for key in self.config:
            if key not in known:
                raise unknown(f"key in method.config of {self.peft_type}", key, known)
        schema = make_dataclass("Given", [(key, known[key]) for key in self.config])
        from_mapping(schema, self.config, "method.config")
        if "target_modules" in _config_fields(self.peft_type):
            chosen_modules(model, self.target_modules)

    def adapt(self, model: nn.Module, context: AdaptContext) -> nn.Module:
        from peft import TaskType

        self.check(model)
        options = dict(self.config)
        chosen = None
        if "target_modules" in _config_fields(self.peft_type):
            chosen = chosen_modules(model, self.target_modules)
            options["target_modules"] = resolve_targets(model, self.target_modules)
        setting = f"method.peft_type={self.peft_type} with method.config={dict(self.config)}"
        with refused_by_library(setting):
            config = config_class(self.peft_type)(task_type=TaskType.CAUSAL_LM, **options)
            return put_adapter(model, config, chosen)


def config_class(peft_type: str) -> type:
    """Return peft's configuration class for a type. Raises InputError for an unknown type."""
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    classes = {str(kind.value): cls for kind, cls in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    if peft_type not in classes:
        raise unknown("method.peft_type", peft_type, set(classes) - set(UNSUPPORTED))
    return classes[peft_type]


def settable(cls: type) -> dict[str, Any]:
    """Return field → type of the fields of ``cls`` that ``method.config`` may set.

    These take a number, a switch, a fixed choice or a list of numbers. Free text and the fields of
    peft's base class (names of models and tasks) are excluded.
    """
    from peft import PeftConfig

    hints = typing.get_type_hints(cls)
    inherited = {field.name for field in fields(PeftConfig)}
    types_by_field = {}
    for field in fields(cls):
        options = [option for option in _options(hints[field.name]) if _is_plain(option)]
        if field.name not in inherited and set(options) - {type(None)}:
            types_by_field[field.name] = typing.Union[tuple(options)]  # noqa: UP007
    return types_by_field


def _options(hint: Any) -> tuple[Any, ...]:
    """Return the members of a union type, or the type itself."""
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if is_union else (hint,)


def _is_plain(option: Any) -> bool:
    """Return True for a type that holds only numbers, switches or fixed choices."""
    simple = (int, float, bool, type(None), list[int], list[float])
    return option in simple or typing.get_origin(option) is Literal


def _config_fields(peft_type: str) -> set[str]:
    """Return the field names of a peft type's configuration."""
    return {field.name for field in fields(config_class(peft_type))}
