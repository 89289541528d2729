"""Content of a W&B run, read from a trial's folder: name, config, curves, summary and samples."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.records import Record, read_jsonl
from harness.records.curve_rows import on_the_same_texts
from harness.records.fingerprint import digest
from harness.records.secrets import is_secret_name, scrub

SAMPLES = 50
SAMPLE_COLUMNS = ("prompt", "references", "base", "output")
MAX_POINTS = 5000  # in one trial's curves; metrics.jsonl holds all
REDACTED = "(redacted)"


@dataclass(frozen=True)
class Heading:
    """Arguments with which a W&B run is opened."""

    id: str
    name: str
    job_type: str
    tags: tuple[str, ...]
    config: dict[str, Any]


def run_id(sweep: str, key: str) -> str:
    """Return a stable id, so that a trial mirrored again becomes the same run."""
    readable = re.sub(r"[^A-Za-z0-9_-]", "-", sweep)[:40]
    return f"{readable}-{digest([sweep, key], 16)}"


def heading(sweep: str, trial: Mapping[str, Any]) -> Heading:
    """Return the heading of a record or of a running trial's spec. Raises KeyError, TypeError."""
    stage, method = (
        trial.get("stage") or trial["config"]["stage"],
        trial["config"]["method"]["name"],
    )
    kind = "confirm-" if stage == "confirm" else ""
    overrides = [_redact_override(text) for text in trial["overrides"]]
    identity = {
        "sweep": sweep,
        "fingerprint": trial["fingerprint"],
        "configuration": trial["configuration"],
        "overrides": overrides,
    }
    return Heading(
        id=run_id(sweep, trial["fingerprint"]),
        name=f"{method}-{kind}{trial['trial']:03d}",
        job_type=stage,
        tags=(method, stage),
        config={**redact(trial["config"]), "trial": identity},
    )


def redact(value: Any, key: str = "") -> Any:
    """Mask secrets in ``value``, by key names and in URLs. Numbers are kept."""
    if isinstance(value, Mapping):
        return {str(k): redact(v, str(k)) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [redact(item, key) for item in value]
    if isinstance(value, str):
        return REDACTED if value and is_secret_name(key) else scrub(value)
    return value


def _redact_override(text: str) -> str:
    key, equals, value = text.partition("=")
    return f"{key}{equals}{redact(value, key)}"


def curves(rows: Iterable[Mapping[str, Any]]) -> list[tuple[int, dict[str, float]]]:
    """Return (step, values) in order of steps. If a step was repeated, its last row counts.

    Dots in measurement names become slashes, by which W&B groups its charts.
    """
    by_step: dict[int, dict[str, float]] = {}
    for row in on_the_same_texts(rows):
        step = row.get("step") if isinstance(row, Mapping) else None
        if not isinstance(step, int):
            continue
        if row.get("kind") == "evaluation":
            values = {slashed(k): v for k, v in row.get("measurements", {}).items()}
        else:
            values = {f"train/{k}": v for k, v in row.items() if k not in ("kind", "step")}
        by_step.setdefault(step, {}).update({k: v for k, v in values.items() if _is_finite(v)})
    return sorted((step, values) for step, values in by_step.items() if values)


def thinned(points: list[tuple[int, dict[str, float]]]) -> list[tuple[int, dict[str, float]]]:
    """Return about MAX_POINTS points at most. Points with evaluations are always kept."""
    stride = math.ceil(len(points) / MAX_POINTS)
    return [
        (step, values)
        for number, (step, values) in enumerate(points)
        if number % stride == 0 or any(not name.startswith("train/") for name in values)
    ]


def summary(record: Record) -> dict[str, Any]:
    """Return measurements, cost and status. Missing values are absent."""
    values: dict[str, Any] = {slashed(k): m.value for k, m in record.measurements.items()}
    values |= {f"cost/{name}": value for name, value in record.cost.items()}
    values |= {"status": record.status, "attempt": record.attempt}
    return values | ({} if record.reason is None else {"reason": record.reason})


def samples(folder: Path) -> list[list[str]]:
    """Return the first outputs beside the base's, as rows of SAMPLE_COLUMNS; [] if there are none."""
    rows = []
    try:
        with (folder / "predictions.jsonl").open(encoding="utf-8", errors="replace") as file:
            for line in itertools.islice(file, SAMPLES):
                row = json.loads(line)
                references = "\n".join(map(str, row.get("references") or []))
                texts = (row.get("prompt"), references, row.get("base"), row.get("output"))
                rows.append(["" if text is None else str(text) for text in texts])
    except (FileNotFoundError, ValueError):  # absent, or its last line is partial
        pass
    return rows


def read_curves(folder: Path) -> list[tuple[int, dict[str, float]]]:
    return curves(read_jsonl(folder / "metrics.jsonl"))


def slashed(name: str) -> str:
    return name.replace(".", "/")


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
