"""Peak memory of a stretch of work, on a GPU as torch counts it, on a CPU as the kernel does."""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path


def reset_peak(device: str) -> None:
    """Begin a new stretch. A worker runs many trials: the peak of its life says little."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):  # not Linux: the peak then stays that of the process
        Path("/proc/self/clear_refs").write_text("5")


def peak_gb(device: str) -> float:
    """Since ``reset_peak``, in GB (1e9 bytes)."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(device) / 1e9
    with contextlib.suppress(OSError, StopIteration):
        status = Path("/proc/self/status").read_text().splitlines()
        line = next(line for line in status if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
