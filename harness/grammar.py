"""Hydra's override grammar: what was typed, as plain values or as dimensions to search."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    Quote,
    QuotedString,
    RangeSweep,
)
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness import space
from harness.errors import InputError
from harness.records.secrets import looks_secret

GROUPS = ("model", "data", "method", "training", "evaluation", "tracking", "launcher", "sweep")


def parse(text: str) -> Override:
    """Raises InputError where ``text`` is no override."""
    try:
        return OverridesParser.create().parse_override(text)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(f"{text!r} is not an override: {str(error).splitlines()[0]}") from error


def is_group(override: Override) -> bool:
    """Whether it chooses a building block rather than a value."""
    return override.key_or_group in (*GROUPS, "tuned")


def is_swept(override: Override) -> bool:
    return override.is_sweep_override()


def dimension(override: Override) -> space.Dimension:
    """choice(...), range(...), interval(...) and their tags. Raises InputError for an empty one."""
    key, value = override.key_or_group, override.value()
    if isinstance(value, ChoiceSweep):
        assert value.list is not None
        plain = OmegaConf.to_object(OmegaConf.create(list(value.list)))
        assert isinstance(plain, list)
        return space.choice(key, plain)
    if isinstance(value, RangeSweep):
        assert value.start is not None and value.stop is not None
        return space.stepped(key, value.start, value.stop, value.step)
    if isinstance(value, IntervalSweep):
        assert value.start is not None and value.end is not None
        log = "log" in value.tags
        integer = "int" in value.tags or isinstance(value.start, int)  # int(interval(...))
        return space.interval(key, value.start, value.end, log=log, integer=integer)
    raise InputError(f"{override.input_line}: glob() cannot be searched; write choice(...).")


def dimension_of(key: str, text: str) -> space.Dimension:
    """The same from a YAML's ``search.space``, where the range is a string."""
    override = parse(f"{key}={text}")
    if not override.is_sweep_override():
        raise InputError(
            f"search.space.{key}={text!r} is no range: write choice(...), range(...), "
            "interval(...) or tag(log, interval(...))."
        )
    return dimension(override)


def shown(value: Any) -> str:
    """``value`` so that this grammar reads exactly it again."""
    if isinstance(value, list):
        return "[" + ",".join(map(shown, value)) + "]"
    if isinstance(value, str):
        word = re.fullmatch(r"[A-Za-z_][\w.-]*", value) and parse(f"x={value}").value() == value
        return value if word else QuotedString(value, Quote.single).with_quotes()
    return "null" if value is None else str(value)


def keys_of(tree: Any, prefix: str = "") -> Iterator[str]:
    """Every dotted key of a composed tree, inner nodes included."""
    if not isinstance(tree, DictConfig):
        return
    for key in tree:
        yield f"{prefix}{key}"
        yield from keys_of(tree._get_node(key), f"{prefix}{key}.")


def guard_environment() -> None:
    """Refuse ``${oc.env:NAME}`` where name or value look like a secret: configuration is recorded."""

    def read(name: str, *default: Any) -> Any:
        named = re.search(r"token|key|secret|passw|pwd|credential|cookie", name, re.IGNORECASE)
        if named or looks_secret(os.environ.get(name, "")):
            raise InputError(f"${{oc.env:{name}}}: a secret must not enter the configuration.")
        if name not in os.environ and not default:
            raise InputError(f"${{oc.env:{name}}}: there is no such environment variable.")
        return os.environ.get(name, *default)

    OmegaConf.register_new_resolver("oc.env", read, replace=True)
