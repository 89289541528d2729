"""Types of value that a configuration key accepts, read from its dataclasses."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from functools import cache
from typing import Any, Literal

from harness import methods
from harness.config import LauncherConfig, SweepConfig, TrialConfig
from harness.config.strict import is_mapping

__all__ = ["Accepted", "accepted", "choices"]

_TEXTS = Mapping[str, list[str]]
# Keys that control composition and are part of no dataclass.
_COMPOSED = {"methods": list[str], "variants": _TEXTS, "per_method": _TEXTS}
_COMPOSED |= {"search.space": Mapping[str, Any]}


@dataclass(frozen=True)
class Accepted:
    """Types of value that a key accepts. For an unknown key all are False."""

    text: bool = False
    list: bool = False
    mapping: bool = False
    other: bool = False  # numbers and booleans

    @property
    def is_text_alone(self) -> bool:
        """True if any input can only be meant as text (or as null)."""
        return self.text and not (self.list or self.mapping or self.other)


@cache
def accepted(key: str) -> Accepted:
    """Return the types of value that the dotted ``key`` accepts."""
    kinds = set()
    for hint in _hints(key):
        for option in _members(hint):
            origin = typing.get_origin(option)
            if option is str or (origin is Literal and _is_text(option)):
                kinds.add("text")
            elif origin is list:
                kinds.add("list")
            elif is_dataclass(option) or is_mapping(origin):
                kinds.add("mapping")
            elif option in (int, float, bool, Any) or origin is Literal:
                kinds.add("other")
    return Accepted(**dict.fromkeys(kinds, True))


def _is_text(literal: Any) -> bool:
    return all(isinstance(value, str) for value in typing.get_args(literal))


def _members(hint: Any) -> tuple[Any, ...]:
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if is_union else (hint,)


def _hints(key: str) -> list[Any]:
    """Return the types at ``key``; several if methods or launchers differ."""
    if key in _COMPOSED:
        return [_COMPOSED[key]]
    first, *rest = key.split(".")
    if first == "method" and rest:
        found: list[Any] = [*methods.METHODS.values()]
    else:
        found, rest = [SweepConfig, TrialConfig], [first, *rest]
    for part in rest:
        found = [inner for hint in found for inner in _below(hint, part)]
    return found


def _below(hint: Any, part: str) -> list[Any]:
    """Return the types at the field or key ``part`` of the type ``hint``."""
    found = []
    for option in _members(hint):
        if is_dataclass(option):
            kinds = [*LauncherConfig.BY_NAME.values()] if option is LauncherConfig else []
            for cls in (option, *kinds):
                hints = typing.get_type_hints(cls)
                found += [hints[part]] if part in hints else []
        elif typing.get_origin(option) is Mapping:
            found.append(typing.get_args(option)[1])
    return found


def choices(key: str) -> list[str]:
    """Return the values of a key that accepts only some, as they are typed; [] for any other key."""
    found: list[str] = []
    for hint in _hints(key):
        for option in _members(hint):
            if typing.get_origin(option) is Literal:
                found += [str(value) for value in typing.get_args(option)]
            elif option is bool:
                found += ["true", "false"]
    return list(dict.fromkeys(found))
