"""Reason why a trial was pruned: its rank among the trials at that step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.language import recorded
from harness.records import read_json


def read_standing(folder: Path, step: int) -> dict[str, Any] | None:
    """Return the standing in the driver's decision at ``step``; None if the driver wrote none."""
    answer = read_json(folder / f"decision-{step}.json")
    standing = answer.get("standing") if isinstance(answer, dict) else None
    return standing if isinstance(standing, dict) else None


def pruned_reason(step: int, steps: int, standing: Mapping[str, Any] | None) -> str:
    """Return the reason for the record: step, evaluation, rank, and the best values seen there."""
    if standing is None:
        return recorded("stopped at step {step} of {steps}", step=step, steps=steps)
    against = ", ".join(
        f"{name} {value:.4g} (best {standing['best'][name]:.4g})"
        for name, value in standing["values"].items()
    )
    return recorded(
        "stopped at step {step} of {steps}: rank {rank} of {trials} trials at evaluation {evaluation}, "
        "of which {kept} go on; {against}",
        step=step,
        steps=steps,
        against=against,
        **{key: standing[key] for key in ("rank", "trials", "evaluation", "kept")},
    )
