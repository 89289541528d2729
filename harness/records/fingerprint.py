"""Fingerprint of a trial: a hash of exactly those values that can change its result."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from harness.config import TrialConfig
from harness.config.judge import FREE
from harness.config.metrics import JUDGE, external_path, is_external

# Paths of data do not identify a trial; the fingerprint of their content does.
_PLACES = (
    *("source", "name", "subset", "train", "validation", "test"),
    *("general", "general_test", "replay", "chat_template"),
)


def digest(data: Any, length: int = 12) -> str:
    """Return hex digits of the SHA-256 of ``data``, written as canonical JSON."""
    text = json.dumps(data, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def identity(config: TrialConfig, model_fingerprint: str, data_fingerprint: str) -> dict[str, Any]:
    """Return the values that a trial's fingerprint covers: no paths, devices or worker counts."""
    whole = asdict(config)
    whole["data"] = {k: v for k, v in whole["data"].items() if k not in _PLACES}
    whole["data"]["content"] = data_fingerprint
    whole["model"] = {k: v for k, v in whole["model"].items() if k not in ("name", "revision")}
    whole["model"]["content"] = model_fingerprint
    whole["evaluation"] = evaluation_identity(whole["evaluation"])
    return whole


def evaluation_identity(evaluation: dict[str, Any]) -> dict[str, Any]:
    """Return the evaluation settings: files by their content, the judge without its endpoint."""
    judge = {k: v for k, v in evaluation["judge"].items() if k not in FREE}
    judge["rubric"] = _content(judge["rubric"])
    metrics = [
        [metric, _content(external_path(metric))] if is_external(metric) else metric
        for metric in evaluation["metrics"]
    ]
    asked = {JUDGE: judge} if JUDGE in metrics else {}
    return {**{k: v for k, v in evaluation.items() if k != JUDGE}, "metrics": metrics, **asked}


def _content(path: str | None) -> str | None:
    """Return the hash of a file, or of a folder's Python files; None if there is no such file."""
    if path is None or not Path(path).exists():
        return None
    files = sorted(Path(path).glob("*.py")) if Path(path).is_dir() else [Path(path)]
    digested = hashlib.sha256()
    for file in files:
        digested.update(file.read_bytes())
    return digested.hexdigest()[:16]


class Fingerprints(NamedTuple):
    """Hashes that identify a trial and its configuration."""

    trial: str
    configuration: str  # shared by trials that differ only in seed and stage


def fingerprints(config: TrialConfig, *, model: str, data: str) -> Fingerprints:
    """Return the hashes of a trial. ``model`` and ``data`` are fingerprints of base and data."""
    whole = identity(config, model, data)
    shared = {k: v for k, v in whole.items() if k not in ("seed", "stage", "evaluation")}
    return Fingerprints(trial=digest(whole), configuration=digest(shared))
