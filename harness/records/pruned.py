"""Why a trial was stopped early: its standing among the others at that step, as the driver wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.records import read_json


def read_standing(folder: Path, step: int) -> dict[str, Any] | None:
    """The standing in the driver's answer at ``step``; None where somebody else stopped the trial."""
    answer = read_json(folder / f"decision-{step}.json")
    standing = answer.get("standing") if isinstance(answer, dict) else None
    return standing if isinstance(standing, dict) else None


def pruned_reason(step: int, steps: int, standing: Mapping[str, Any] | None) -> str:
    """The reason in the record: the step, the rung, the rank there, and the best values there."""
    stopped = f"stopped at step {step} of {steps}"
    if standing is None:
        return stopped
    against = ", ".join(
        f"{name} {value:.4g} (best {standing['best'][name]:.4g})"
        for name, value in standing["values"].items()
    )
    return (
        f"{stopped}: rank {standing['rank']} of {standing['trials']} trials at evaluation "
        f"{standing['evaluation']}, of which {standing['kept']} go on; {against}"
    )
