"""Fingerprints of a base: hashes of its files, and of the settings that change its values."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from harness.config import ModelConfig
from harness.models.loading.location import model_path
from harness.models.loading.quantized_loading import compute_dtype
from harness.models.quantization import Quantization
from harness.records.fingerprint import digest

# Suffixes of files that are never read: documentation, and weights in formats that can contain code.
_UNREAD = (".md", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".gguf", ".pkl")


@lru_cache(maxsize=8)
def stored_fingerprint(config: ModelConfig) -> str:
    """Hash all readable files of a local model, or name and revision of a hub model.

    Files are excluded by suffix, because templates and vocabularies have many names.
    """
    path = Path(model_path(config))
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted([*path.iterdir(), *path.glob("additional_chat_templates/*")]):
            is_visible = file.is_file() and not file.name.startswith(".")
            if is_visible and file.suffix.lower() not in _UNREAD:
                digest.update(file.relative_to(path).as_posix().encode())
                with file.open("rb") as content:
                    digest.update(hashlib.file_digest(content, "sha256").digest())
    else:
        digest.update(f"{config.name}@{config.revision}".encode())
    return digest.hexdigest()[:16]


def base_fingerprint(config: ModelConfig, quantization: Quantization | None) -> str:
    """Hash the stored files and the settings that change the values of loaded weights."""
    settings = [
        config.dtype,
        config.attention,
        quantization and [quantization.kind, quantization.double],
        compute_dtype(config, quantization),
    ]
    return digest([stored_fingerprint(config), *settings], 16)
