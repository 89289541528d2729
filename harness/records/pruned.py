"""Reason why a trial was pruned: its rank among the trials at that step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.records import read_json


def read_standing(folder: Path, step: int) -> dict[str, Any] | None:
    """Return the standing in the driver's decision at ``step``; None if the driver wrote none."""
    answer = read_json(folder / f"decision-{step}.json")
    standing = answer.get("standing") if isinstance(answer, dict) else None
    return standing if isinstance(standing, dict) else None


def pruned_reason(step: int, steps: int, standing: Mapping[str, Any] | None) -> str:
    """Return the reason for the record: step, evaluation, rank, and the best values seen there."""
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
