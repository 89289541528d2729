"""Strict conversion of mappings to frozen dataclasses: unknown, missing or mistyped keys fail."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any, Literal, TypeGuard

from harness.errors import InputError, unknown


def require(good: bool, field: str, value: object, accepted: str) -> None:
    """Raise InputError with the field, the value and the accepted values if a check fails."""
    if not good:
        raise InputError(f"{field}={value!r} cannot be used: it must be {accepted}.")


def from_mapping(cls: type, data: Mapping[str, Any], path: str = "") -> Any:
    """Return ``data`` as an instance of the dataclass ``cls``, strictly.

    Raises InputError for an unknown key (with the nearest known one), a missing key, and a value of
    another type. If ``cls`` has BY_NAME, ``data["name"]`` selects one of its classes.
    """
    if not isinstance(data, Mapping):
        raise InputError(f"{path or cls.__name__}={data!r} cannot be used: it must be a mapping.")
    cls = getattr(cls, "BY_NAME", {}).get(str(data.get("name")), cls)
    hints = _hints(cls)
    names = [field.name for field in fields(cls)]
    for key in data:
        if key not in names:
            raise unknown(f"key in {path or 'the configuration'}", key, names)
    values = {}
    for name in names:
        where = f"{path}.{name}" if path else name
        if name not in data:
            raise InputError(f"{where} is missing: set {where}=...")
        values[name] = _convert(hints[name], data[name], where)
    return cls(**values)


@lru_cache(maxsize=256)
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)  # slow: it compiles each hint again in every call


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Convert ``value`` to the type ``hint``. Integers pass for floats, without other coercion."""
    if is_dataclass(hint):
        return from_mapping(typing.cast(type, hint), value, where)
    for option in _options(hint):
        origin = typing.get_origin(option)
        if option is Any or (option is type(None) and value is None):
            return value
        if origin is Literal and value in typing.get_args(option):
            return value
        if option is float and _is_number(value) and math.isfinite(value):
            return float(value)
        if option is int and isinstance(value, int) and not isinstance(value, bool):
            return value
        if option in (str, bool) and isinstance(value, option):
            return value
        if origin is list and isinstance(value, list):
            (inner,) = typing.get_args(option)
            return [_convert(inner, item, f"{where}[{i}]") for i, item in enumerate(value)]
        if isinstance(value, Mapping) and is_mapping(origin):
            _, inner = typing.get_args(option)
            return {str(k): _convert(inner, v, f"{where}.{k}") for k, v in value.items()}
    raise InputError(f"{where}={value!r} cannot be used: it must be {_describe(hint)}.")


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_mapping(origin: object) -> bool:
    """Return whether ``origin`` of a type hint is a mapping's class."""
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _options(hint: Any) -> tuple[Any, ...]:
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if is_union else (hint,)


_WORDS = {int: "an integer", float: "a finite number", str: "text", bool: "true or false"}


def _describe(hint: Any) -> str:
    words = []
    for option in _options(hint):
        origin = typing.get_origin(option)
        if option is type(None):
            words.append("null")
        elif origin is Literal:
            words.append("one of " + ", ".join(map(str, typing.get_args(option))))
        elif origin is list:
            words.append("a list")
        elif origin is not None:
            words.append("a mapping")
        else:
            words.append(_WORDS.get(option, str(option)))
    return " or ".join(words)
