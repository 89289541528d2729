"""Configuration keys: those that users may name freely, their siblings, and their owner."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from harness import methods
from harness.config import SweepConfig
from harness.config.strict import require
from harness.errors import InputError

SWEEP_KEYS = tuple(field.name for field in fields(SweepConfig))
# Mappings with keys of the user's choice, besides those of methods.
FREE = ("evaluation.per_task", "launcher.options", "search.space", "variants", "per_method")


def free_parent(key: str) -> str | None:
    """Return the mapping that contains ``key`` if users may choose its keys freely, else None."""
    free = (*methods.free_fields(), *FREE)
    return next((name for name in free if key.startswith(f"{name}.")), None)


def opened(override: str) -> str:
    """Mark a key below a free mapping as new, which Hydra requires."""
    free = override.split("=")[0] in (*methods.free_fields(), *FREE)
    return f"++{override}" if free or free_parent(override) is not None else override


def siblings(key: str, keys: set[str]) -> set[str]:
    """Return the keys beside ``key``: those of its parent, or the top ones if it has none."""
    parent = key.rpartition(".")[0]
    if parent not in keys:
        return {name for name in keys if "." not in name}
    depth = parent.count(".") + 1
    return {k for k in keys if k.startswith(f"{parent}.") and k.count(".") == depth}


def of_trial(override: str) -> bool:
    """Return True if a typed override belongs to a trial, not to the sweep around it."""
    name = re.split(r"[.=]", override.lstrip("+~"))[0]
    if override.lstrip("+~").startswith("search.rate."):
        return True  # the rate of a trial, where nothing else sets it
    return name not in (*SWEEP_KEYS, "stage", "methods", "per_method", "variants")


def check_folders(whole: Mapping[str, Any]) -> None:
    """Raise InputError if runs_dir or reports_dir is not the path of a folder, such as empty text."""
    for key in ("runs_dir", "reports_dir"):
        path = whole[key]
        require(isinstance(path, str) and path.strip() != "", key, path, "the path of a folder")


def checked_name(given: Any, what: str = "name=") -> str | None:
    """Return ``name=`` as text. Raises InputError if it cannot name a folder."""
    if given is None or re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", str(given)):
        return None if given is None else str(given)
    raise InputError(
        f"{what}{given!r} cannot be used: it names a folder. Use at most 80 letters, "
        "digits, '.', '_' and '-', beginning with a letter or digit."
    )
