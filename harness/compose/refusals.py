"""Refusals of what Hydra would take without a word: options, replaced mappings, blocks of one's own."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from hydra._internal.utils import get_args_parser  # noqa: TID251 - as below
from hydra.core.override_parser.types import Override  # noqa: TID251 - this folder knows Hydra

from harness.compose import override_grammar
from harness.compose.accepted_values import accepted
from harness.compose.keys import free_parent, of_trial
from harness.config.strict import require
from harness.errors import InputError, sentence, unknown

__all__ = [
    "check_flags",
    "check_mapping",
    "check_of_trials",
    "check_own_block",
    "check_parts",
    "check_top_keys",
    "flags_of",
]

_WHOLE = "# @package _global_"
_PARTS = ("model", "data", "method", "training", "evaluation", "retention", "search", "confirm")
_PARTS += ("limits", "report", "tracking", "launcher")
_INNER = {"search": ("space", "rate")}  # read before anything is converted
# Of Hydra, and the chosen sweep, whose keys stand at the top.
_NOT_OURS = {"hydra", "defaults", "sweep", "tuned"}


def flags_of(arguments: Sequence[str]) -> tuple[Any, list[str]]:
    """Return Hydra's options, and the words that are none. Raises InputError for a missing value."""
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise InputError(f"{' '.join(arguments)} cannot be read: {message}.")

    parser.error = refuse  # type: ignore[method-assign]
    return parser.parse_known_intermixed_args(list(arguments))


def check_flags(flags: Any, rest: Sequence[str]) -> None:
    """Refuse unknown options, and those of Hydra that have no effect here."""
    if rest:
        meant = rest[0].lstrip("-")
        hint = f": {meant}" if "=" in meant else ""
        raise InputError(f"Unknown option {rest[0]}; overrides are written key=value{hint}.")
    for name in ("config_name", "config_path", "package", "experimental_rerun"):
        if getattr(flags, name) is not None:
            raise InputError(
                f"--{name.replace('_', '-')} cannot be used: blocks of your own lie in a folder that "
                "--config-dir names, and are chosen as key=NAME."
            )


def check_mapping(override: Override, present: Any) -> None:
    """Raise InputError if a part of the configuration is replaced by something that has no keys."""
    key, value, kinds = override.key_or_group, override.value(), accepted(override.key_or_group)
    if not isinstance(present, Mapping) or isinstance(value, dict) or kinds.text or kinds.list:
        return
    if override_grammar.is_swept(override) or (
        value is None and free_parent(f"{key}.") is not None
    ):
        return  # a search is refused in its own words
    first = next(iter(present), None)
    how = (
        f"Set its keys one by one, such as {key}.{first}=VALUE"
        if first
        else "Such are {KEY: VALUE}"
    )
    raise InputError(f"{key}={value!r} cannot be used: it must be a mapping. {how}.")


def check_of_trials(where: str, overrides: Sequence[Override]) -> None:
    """Raise InputError for an override of one method that the whole sweep has once."""
    for override in overrides:
        text = override_grammar.text_of(override)
        if not of_trial(text):
            raise InputError(
                f"{where}: {text} cannot be used: {override.key_or_group} is the same for all methods "
                "of a sweep. Type it beside them."
            )


def check_parts(tree: Mapping[Any, Any]) -> None:
    """Raise InputError if a file sets a part of the configuration to something that has no keys."""
    for key in _PARTS:
        part: Any = tree.get(key)
        require(isinstance(part, Mapping), key, part, "a mapping")
        for inner in _INNER.get(key, ()):
            value = part.get(inner)
            require(
                value is None or isinstance(value, Mapping), f"{key}.{inner}", value, "a mapping"
            )


def check_own_block(folder: Path, group: str, option: str) -> None:
    """Raise InputError if a block in the user's own folder is no YAML, or has its keys out of reach."""
    file = folder / group / f"{option}.yaml"
    if not file.is_file():
        return
    try:
        text = file.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except UnicodeDecodeError as error:
        raise InputError(f"{group}={option}: {file} is not UTF-8: {error.reason}.") from error
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f":{error.problem_mark.line + 1}"
        raise InputError(f"{group}={option}: {file}{line} is no YAML: {error.problem}.") from error
    except yaml.YAMLError as error:
        raise InputError(f"{group}={option}: {file} is no YAML: {sentence(error)}.") from error
    if content is not None and not isinstance(content, dict):
        raise InputError(
            f"{group}={option}: {file} must hold keys with values, not a {_name(content)}."
        )
    if group == "sweep" and content and _WHOLE not in text:
        raise InputError(
            f"{group}={option}: the keys of {file} have no effect without '{_WHOLE}' as its first line."
        )


def _name(content: object) -> str:
    return "list" if isinstance(content, list) else "text"


def check_top_keys(tree: Mapping[Any, Any], known: Collection[str]) -> None:
    """Raise InputError for a key at the top that no part of the configuration reads.

    A key of one's own may stand there if another value refers to it, as ``${mine}``.
    """
    text = repr(tree)
    for key in map(str, tree):
        if key not in known and key not in _NOT_OURS and f"${{{key}" not in text:
            raise unknown("key", key, known)
