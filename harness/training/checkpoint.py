"""Atomic checkpoints: written aside, listed in a manifest, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import DiskFull
from harness.records import heartbeat
from harness.records.disk_full import is_disk_full, message

if TYPE_CHECKING:
    from torch import Tensor

FILES = ("state.pt", "tensors.safetensors")
KEPT = 2  # the newest may have been torn by a crash
BYTES_PER_SECOND = 2e8  # of a slow disk, until a checkpoint has been measured


@dataclass(frozen=True)
class Checkpoint:
    """Everything needed to resume after ``step`` finished optimizer steps."""

    step: int
    tensors: dict[str, Tensor]  # trained parameters by name
    state: dict[str, Any]  # optimizer, random states, the method's own; loadable weights-only


class CheckpointFolder:
    """``folder/step-N/{tensors.safetensors, state.pt, manifest.json}``."""

    def __init__(self, folder: Path, kept: int = KEPT) -> None:
        self.folder = folder
        self.kept = kept

    @property
    def seconds(self) -> float:
        """Seconds that writing a checkpoint takes: measured, or expected; 0 where it is not known."""
        return heartbeat.checkpoint_seconds(self.folder.parent)

    def expect(self, n_bytes: int) -> None:
        """Let the launcher know what a first checkpoint of ``n_bytes`` may take."""
        if self.seconds == 0:
            self.took(n_bytes / BYTES_PER_SECOND)

    def took(self, seconds: float) -> None:
        """Let the launcher know how long writing a checkpoint took."""
        heartbeat.remember_checkpoint(self.folder.parent, seconds)

    def save(self, checkpoint: Checkpoint) -> None:
        """Save a checkpoint. On DiskFull the older ones stay and nothing of this one does."""
        aside = self.folder / f".step-{checkpoint.step}.tmp"
        try:
            self._save(checkpoint, aside)
        except Exception as error:
            shutil.rmtree(aside, ignore_errors=True)
            if is_disk_full(error):
                raise DiskFull(message(self.folder, _size_of(checkpoint))) from error
            raise

    def _save(self, checkpoint: Checkpoint, aside: Path) -> None:
        import torch
        from safetensors.torch import save_file

        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        tensors = {name: t.detach().cpu().contiguous() for name, t in checkpoint.tensors.items()}
        save_file(tensors, aside / "tensors.safetensors")
        torch.save(checkpoint.state, aside / "state.pt")
        manifest = {"step": checkpoint.step, "sha256": {}}
        for name in FILES:
            manifest["sha256"][name] = _sha256(aside / name)
            _sync(aside / name)
        (aside / "manifest.json").write_text(json.dumps(manifest))
        _sync(aside / "manifest.json")
        target = self.folder / f"step-{checkpoint.step}"
        shutil.rmtree(target, ignore_errors=True)
        aside.replace(target)
        others = [step for step in self._steps() if step != checkpoint.step]
        for old in others[: max(0, len(others) + 1 - self.kept)]:
            shutil.rmtree(self.folder / f"step-{old}", ignore_errors=True)

    def load(self) -> Checkpoint | None:
        """Return the newest intact checkpoint; torn ones are reported on stderr and skipped."""
        import torch
        from safetensors.torch import load_file

        for step in reversed(self._steps()):
            folder = self.folder / f"step-{step}"
            if not _whole(folder):
                print(
                    f"{folder} is not whole (cut off while written?); passed over", file=sys.stderr
                )
                continue
            state = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
            return Checkpoint(step, load_file(folder / "tensors.safetensors"), state)
        return None

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _steps(self) -> list[int]:
        numbers = [path.name.removeprefix("step-") for path in self.folder.glob("step-*")]
        return sorted(int(number) for number in numbers if number.isdecimal())


def _size_of(checkpoint: Checkpoint) -> int:
    """Return the bytes of its tensors, including the optimizer's."""
    import torch

    def bytes_in(value: Any) -> int:
        if isinstance(value, torch.Tensor):
            return value.numel() * value.element_size()
        if isinstance(value, dict):
            return sum(bytes_in(inner) for inner in value.values())
        return sum(bytes_in(inner) for inner in value) if isinstance(value, list) else 0

    return bytes_in(checkpoint.tensors) + bytes_in(checkpoint.state)


def _whole(folder: Path) -> bool:
    try:
        sums = json.loads((folder / "manifest.json").read_text())["sha256"]
        return sums == {name: _sha256(folder / name) for name in FILES}
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
