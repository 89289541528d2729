"""Peak and available memory of a device."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
from pathlib import Path


def synchronize(device: str) -> None:
    """Wait for the queued work of a GPU. Does nothing for a CPU."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)


def reset_peak(device: str) -> None:
    """Start a new measurement of the peak, because a worker process runs many trials."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # otherwise freed memory would count
    with contextlib.suppress(OSError):  # Linux only; elsewhere the peak is that of the process
        Path("/proc/self/clear_refs").write_text("5")


def peak_gb(device: str) -> float:
    """Return the peak memory since ``reset_peak`` in GB (1e9 bytes).

    On a GPU the memory of tensors, on a CPU that of the process.
    """
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(device) / 1e9
    peak = _read_bytes("/proc/self/status").get("VmHWM")
    if peak is not None:
        return peak / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def resident_gb(device: str) -> float:
    """Return the memory of this process in GB (1e9 bytes), without freed memory; 0 on a GPU."""
    if device.startswith("cuda"):
        return 0.0
    reset_peak(device)
    return _read_bytes("/proc/self/status").get("VmRSS", 0) / 1e9


def available_gb(device: str) -> float:
    """Return the GB (1e9 bytes) that this process can use: free memory and what it has allocated."""
    if device.startswith("cuda"):
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        return (free + torch.cuda.memory_reserved(device)) / 1e9
    fields = _read_bytes("/proc/meminfo")
    if "MemAvailable" not in fields:  # not Linux
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    free = fields["MemAvailable"]
    with contextlib.suppress(OSError, ValueError):  # the limit of a container
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        free = min(free, limit - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    return (free + _read_bytes("/proc/self/status")["VmRSS"]) / 1e9


def _read_bytes(path: str) -> dict[str, int]:
    """Return name → bytes from a file with lines such as ``VmRSS: 1234 kB``."""
    with contextlib.suppress(OSError):
        lines = [line.split() for line in Path(path).read_text().splitlines()]
        return {line[0][:-1]: 1024 * int(line[1]) for line in lines if line[-1:] == ["kB"]}
    return {}
