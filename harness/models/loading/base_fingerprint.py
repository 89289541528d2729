"""Fingerprints of a base: hashes of its files, and of the settings that change its values."""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from harness.config import ModelConfig
from harness.models.loading.location import model_path
from harness.models.loading.quantized_loading import compute_dtype
from harness.models.quantization import Quantization
from harness.paths import cache_folder
from harness.records.fingerprint import digest
from harness.records.store import write_text

# Suffixes of files that are never read: documentation, and weights in formats that can contain code.
_UNREAD = (".md", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".gguf", ".pkl")

LARGE = 2**25  # bytes, which take 0.03 s to hash
SETTLED_NS = 2 * 10**9  # a file written to more recently could change without a new time of writing


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
                digest.update(_sha256(file))
    else:
        digest.update(f"{config.name}@{config.revision}".encode())
    return digest.hexdigest()[:16]


def _sha256(file: Path) -> bytes:
    """Hash a file. The hash of a large one is kept for as long as the file is not written to."""
    status = file.stat()
    if status.st_size < LARGE:
        return _read_sha256(file)
    path = str(file.resolve())
    kept = cache_folder() / "hashes" / f"{hashlib.sha256(path.encode()).hexdigest()[:16]}.json"
    # The time of a change is the file system's own: no program that keeps the time of writing sets it.
    now = [path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    with suppress(OSError, ValueError, TypeError, KeyError):
        known = json.loads(kept.read_text(encoding="utf-8"))
        if known["file"] == now:
            return bytes.fromhex(known["sha256"])
    began = time.time_ns()
    found = _read_sha256(file)
    if began - max(status.st_mtime_ns, status.st_ctime_ns) > SETTLED_NS:
        with suppress(OSError):  # a home that cannot be written to
            write_text(kept, json.dumps({"file": now, "sha256": found.hex()}))
    return found


def _read_sha256(file: Path) -> bytes:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").digest()


def base_fingerprint(config: ModelConfig, quantization: Quantization | None) -> str:
    """Hash the stored files and the settings that change the values of loaded weights."""
    settings = [
        config.dtype,
        config.attention,
        quantization and [quantization.kind, quantization.double],
        compute_dtype(config, quantization),
    ]
    return digest([stored_fingerprint(config), *settings], 16)
