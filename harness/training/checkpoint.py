"""Checkpoints, written to a temporary folder with checksums and renamed when complete."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import DiskFull
from harness.records import heartbeat
from harness.records.disk_full import is_disk_full, message

if TYPE_CHECKING:
    from torch import Tensor

FILES = ("state.pt", "tensors.safetensors")
KEPT = 2  # a crash may have corrupted the newest
BYTES_PER_SECOND = 2e8  # writing speed assumed before a checkpoint has been timed


@dataclass(frozen=True)
class Checkpoint:
    """State of a run after ``step`` optimizer steps, sufficient to resume it."""

    step: int
    tensors: dict[str, Tensor]  # trained parameters by name
    state: dict[str, Any]  # of optimizer, generators and method; loadable with weights_only


class CheckpointFolder:
    """Checkpoints in ``folder/step-N/{tensors.safetensors, state.pt, manifest.json}``."""

    def __init__(self, folder: Path, kept: int = KEPT) -> None:
        self.folder = folder
        self.kept = kept

    @property
    def seconds(self) -> float:
        """Seconds that writing a checkpoint takes, measured or expected; 0 if unknown."""
        return heartbeat.checkpoint_seconds(self.folder.parent)

    def expect_bytes(self, n_bytes: int) -> None:
        """Record the expected duration of writing ``n_bytes``, for the launcher's timeout."""
        if self.seconds == 0:
            self.record_duration(n_bytes / BYTES_PER_SECOND)

    def record_duration(self, seconds: float) -> None:
        """Record the measured duration of writing a checkpoint, for the launcher's timeout."""
        heartbeat.remember_checkpoint(self.folder.parent, seconds)

    def save(self, checkpoint: Checkpoint) -> None:
        """Save a checkpoint and delete old ones.

        Raises DiskFull if the disk is full. Older checkpoints are then kept, and nothing of this
        one remains.
        """
        temporary = self.folder / f".step-{checkpoint.step}.tmp"
        try:
            self._save(checkpoint, temporary)
        except Exception as error:
            shutil.rmtree(temporary, ignore_errors=True)
            if is_disk_full(error):
                raise DiskFull(message(self.folder, _size_of(checkpoint))) from error
            raise

    def _save(self, checkpoint: Checkpoint, temporary: Path) -> None:
        import torch
        from safetensors.torch import save_file

        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        tensors = {name: t.detach().cpu().contiguous() for name, t in checkpoint.tensors.items()}
        save_file(tensors, temporary / "tensors.safetensors")
        with _without_checksums_of_zip():  # it has another below
            torch.save(checkpoint.state, temporary / "state.pt")
        manifest = {"step": checkpoint.step, "sha256": {}}
        for name in FILES:
            manifest["sha256"][name] = _sha256(temporary / name)
            _sync(temporary / name)
        (temporary / "manifest.json").write_text(json.dumps(manifest))
        _sync(temporary / "manifest.json")
        target = self.folder / f"step-{checkpoint.step}"
        shutil.rmtree(target, ignore_errors=True)
        temporary.replace(target)
        others = [step for step in self._steps() if step != checkpoint.step]
        for old in others[: max(0, len(others) + 1 - self.kept)]:
            shutil.rmtree(self.folder / f"step-{old}", ignore_errors=True)

    def load(self) -> Checkpoint | None:
        """Return the newest intact checkpoint, or None.

        Damaged checkpoints are skipped with a message on stderr.
        """
        import torch
        from safetensors.torch import load_file

        for step in reversed(self._steps()):
            folder = self.folder / f"step-{step}"
            if not _is_intact(folder):
                print(f"{folder} is damaged (interrupted while written?); skipped", file=sys.stderr)
                continue
            state = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
            return Checkpoint(step, load_file(folder / "tensors.safetensors"), state)
        return None

    def clear(self) -> None:
        """Delete all checkpoints."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _steps(self) -> list[int]:
        """Return the steps that have a checkpoint, ascending."""
        numbers = [path.name.removeprefix("step-") for path in self.folder.glob("step-*")]
        return sorted(int(number) for number in numbers if number.isdecimal())


@contextmanager
def _without_checksums_of_zip() -> Iterator[None]:
    """Context in which ``torch.save`` takes a quarter of the time."""
    from torch.serialization import get_crc32_options, set_crc32_options

    before = get_crc32_options()
    set_crc32_options(False)
    try:
        yield
    finally:
        set_crc32_options(before)


def _size_of(checkpoint: Checkpoint) -> int:
    """Return the bytes of all tensors of a checkpoint, the optimizer's included."""
    import torch

    def bytes_in(value: Any) -> int:
        if isinstance(value, torch.Tensor):
            return value.numel() * value.element_size()
        if isinstance(value, dict):
            return sum(bytes_in(inner) for inner in value.values())
        return sum(bytes_in(inner) for inner in value) if isinstance(value, list) else 0

    return bytes_in(checkpoint.tensors) + bytes_in(checkpoint.state)


def _is_intact(folder: Path) -> bool:
    """Return True if the files of a checkpoint match the checksums in its manifest."""
    try:
        sums = json.loads((folder / "manifest.json").read_text())["sha256"]
        return sums == {name: _sha256(folder / name) for name in FILES}
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Flush a file to disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
