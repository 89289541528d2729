"""The identity of a trial: a hash of everything that can change its result, and of nothing else."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

from harness.config import TrialConfig

# Where data lies is no part of a trial; what it says is, as the content's own fingerprint.
_PLACES = (
    *("source", "name", "subset", "train", "validation", "test"),
    *("general", "general_test", "replay"),
)


def digest(data: Any, length: int = 12) -> str:
    """Hex digits of the SHA-256 of ``data`` as canonical JSON."""
    text = json.dumps(data, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def identity(config: TrialConfig, model_fingerprint: str, data_fingerprint: str) -> dict[str, Any]:
    """What a trial's fingerprint is made of; paths, devices and worker counts are not in it."""
    whole = asdict(config)
    whole["data"] = {k: v for k, v in whole["data"].items() if k not in _PLACES}
    whole["data"]["content"] = data_fingerprint
    whole["model"] = {k: v for k, v in whole["model"].items() if k not in ("name", "revision")}
    whole["model"]["content"] = model_fingerprint
    return whole


def fingerprints(
    config: TrialConfig, model_fingerprint: str, data_fingerprint: str
) -> tuple[str, str]:
    """(fingerprint, configuration): of the trial, and of what trials with other seeds share."""
    whole = identity(config, model_fingerprint, data_fingerprint)
    shared = {k: v for k, v in whole.items() if k not in ("seed", "stage", "evaluation")}
    return digest(whole), digest(shared)
