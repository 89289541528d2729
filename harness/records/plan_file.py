"""The file ``plan.json``: memory and time of each method, measured before the sweep began."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.config.strict import from_mapping
from harness.errors import InputError
from harness.records.footprint import Footprint
from harness.records.store import read_json

FILE = "plan.json"
_LATER = {"trainable_parameters": None}  # fields that earlier versions did not write


def read_plan(folder: Path) -> tuple[dict[str, Footprint], list[str]]:
    """Read the plan of a sweep: the footprint of each method as configured, and what was left out."""
    plan: Any = read_json(folder / FILE)
    footprints, left_out = {}, []
    for method, needs in plan.items() if isinstance(plan, dict) else ():
        try:
            first = needs["measured"][0]["footprint"]
            footprints[str(method)] = from_mapping(Footprint, {**_LATER, **first})
            left_out += [str(words) for words in needs["left_out"]]
        except (InputError, LookupError, TypeError):
            continue  # not measured, or written by another version
    return footprints, left_out
