"""Memory: the peak of a stretch of work, and whether an error says that there was too little."""

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


def is_out_of_memory(error: BaseException) -> bool:
    """On a GPU torch has a class for it; a library of CUDA's and the CPU's allocator only say so."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    said = ("can't allocate memory", "ALLOC_FAILED", "out of memory")
    return isinstance(error, RuntimeError) and any(words in str(error) for words in said)


def first_line(error: BaseException) -> str:
    """What it says, without the stack that torch's own errors carry along."""
    return (str(error).splitlines() or [type(error).__name__])[0]
