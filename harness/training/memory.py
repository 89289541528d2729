"""The end of a stretch of work on a device, its peak of memory, and what is available."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
from pathlib import Path


def synchronize(device: str) -> None:
    """Wait until ``device`` has done what it was given: on a GPU work is queued, not done."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)


def reset_peak(device: str) -> None:
    """Start a new stretch. A worker runs many trials, so its lifetime peak says little."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return
    gc.collect()
    with contextlib.suppress(
        OSError, AttributeError
    ):  # other C libraries return memory by themselves
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # freed memory would count as held
    with contextlib.suppress(OSError):  # not Linux: the peak then stays that of the process
        Path("/proc/self/clear_refs").write_text("5")


def peak_gb(device: str) -> float:
    """Return the peak since ``reset_peak`` in GB (1e9 bytes)."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(device) / 1e9
    peak = _fields("/proc/self/status").get("VmHWM")
    if peak is not None:
        return peak / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def available_gb(device: str) -> float:
    """Return the gigabytes available: free memory plus what this process holds."""
    if device.startswith("cuda"):
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        return (free + torch.cuda.memory_reserved(device)) / 1e9
    fields = _fields("/proc/meminfo")
    if "MemAvailable" not in fields:  # not Linux
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    free = fields["MemAvailable"]
    with contextlib.suppress(OSError, ValueError):  # a container may have less
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        free = min(free, limit - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    return (free + _fields("/proc/self/status")["VmRSS"]) / 1e9


def _fields(path: str) -> dict[str, int]:
    """Read bytes by name from a file with lines such as ``VmRSS:  1234 kB``."""
    with contextlib.suppress(OSError):
        lines = [line.split() for line in Path(path).read_text().splitlines()]
        return {line[0][:-1]: 1024 * int(line[1]) for line in lines if line[-1:] == ["kB"]}
    return {}


def first_line(error: BaseException) -> str:
    """Return the first line of the message; torch's errors append a stack."""
    return (str(error).splitlines() or [type(error).__name__])[0]
