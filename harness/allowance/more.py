"""More budget for an existing sweep: ``name=NAME budget=+30m`` extends its original command line."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import yaml

from harness.errors import InputError
from harness.paths import user_path

BEGINS = ["python", "-m", "harness.sweep"]


def with_earlier(arguments: Sequence[str]) -> list[str]:
    """Return the original arguments of the sweep, followed by ``arguments``, if they buy more budget.

    A key typed now replaces the original one; the sweep's folder rejects it if it would change the
    sweep. Other command lines are returned unchanged. Raises InputError if there is no such sweep.
    """
    typed = {argument.split("=")[0]: argument.partition("=")[2] for argument in arguments}
    budget = typed.get("budget", "").strip("'\" ")
    if not budget.startswith("+"):
        return list(arguments)
    name = typed.get("name")
    if not name:
        raise InputError(f"budget={budget} needs name=, the sweep to buy more for.")
    folder = user_path(typed.get("runs_dir") or "runs") / name
    try:
        described = yaml.safe_load((folder / "sweep.yaml").read_text(encoding="utf-8"))
        earlier = shlex.split(described["command"])
    except (OSError, ValueError, yaml.YAMLError, LookupError, TypeError):
        raise InputError(
            f"budget={budget!r} cannot be used: there is no sweep in {folder} to buy more for."
        ) from None
    if earlier[:3] != BEGINS:
        return list(arguments)
    replaced = {*typed, "plan"}
    return [a for a in earlier[3:] if a.split("=")[0] not in replaced] + list(arguments)
