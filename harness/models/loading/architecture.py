"""Family and width of a base, from its config.json alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from harness.config import ModelConfig
from harness.models.loading.location import model_path


@dataclass(frozen=True)
class Architecture:
    """Family of a model, and its width."""

    family: str  # ``model_type``, of its text part if it has several: llama, qwen3
    width: int  # ``hidden_size``


def read_architecture(config: ModelConfig) -> Architecture | None:
    """Return it without loading the model; None if config.json cannot be had or does not say."""
    folder = Path(model_path(config))
    try:
        file = folder / "config.json" if folder.is_dir() else _of_hub(config)
        whole = json.loads(file.read_text(encoding="utf-8"))
        own = whole.get("text_config") or whole
        family, width = own.get("model_type", whole.get("model_type")), own.get("hidden_size")
    except Exception:  # no network, no such file, no JSON: what needs the model says so better
        return None
    known = isinstance(family, str) and isinstance(width, int) and width > 0
    return Architecture(family, width) if known else None


def _of_hub(config: ModelConfig) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(config.name, "config.json", revision=config.revision))
