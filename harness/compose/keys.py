"""Keys of the configuration: those that are the user's to name, siblings, whose they are."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

from harness import methods
from harness.config import SweepConfig
from harness.errors import InputError

SWEEP_KEYS = tuple(field.name for field in fields(SweepConfig))
# Beside those of methods: mappings whose keys are the user's.
FREE = ("evaluation.per_task", "launcher.options", "search.space", "variants", "per_method")


def free_parent(key: str) -> str | None:
    """The mapping of a method's that ``key`` lies in and whose keys are not ours to know."""
    free = (*methods.free_fields(), *FREE)
    return next((name for name in free if key.startswith(f"{name}.")), None)


def opened(override: str) -> str:
    """A key below such a mapping need not exist yet: Hydra wants that said."""
    free = override.split("=")[0] in (*methods.free_fields(), *FREE)
    return f"++{override}" if free or free_parent(override) is not None else override


def siblings(key: str, keys: set[str]) -> set[str]:
    """The keys beside ``key``: those under its parent, or the top ones if there is no such parent."""
    parent = key.rpartition(".")[0]
    if parent not in keys:
        return {name for name in keys if "." not in name}
    depth = parent.count(".") + 1
    return {k for k in keys if k.startswith(f"{parent}.") and k.count(".") == depth}


def of_trial(override: str) -> bool:
    """Return True if a typed override belongs to a trial, not to the sweep around it."""
    name = re.split(r"[.=]", override.lstrip("+~"))[0]
    return name not in (*SWEEP_KEYS, "stage", "methods", "per_method", "variants")


def checked_name(given: Any, what: str = "name=") -> str | None:
    """``name=`` as text. Raises InputError where it is no name of a folder."""
    if given is None or re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", str(given)):
        return None if given is None else str(given)
    raise InputError(
        f"{what}{given!r} cannot be used: it names a folder, so letters, digits, "
        "'.', '_' and '-', at most 80, a letter or digit first."
    )
