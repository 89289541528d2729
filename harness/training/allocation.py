"""Meter of tensor memory: bytes still allocated at the end of an interval, and the peak."""

from __future__ import annotations

import os
from typing import Any


class AllocationMeter:
    """Measure the memory that torch allocates between calls of ``lap``.

    Exact and reproducible on a CPU too, unlike the memory of the process. Memory that other
    libraries allocate is not included.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._allocated_before = 0
        self._profiler: Any = None
        self._begin()

    def lap(self) -> tuple[int, int]:
        """Return (growth, peak) in bytes since the last lap, and start a new one.

        Both are relative to the bytes allocated at the start of the lap.
        """
        growth, peak = self._end()
        self._begin()
        return growth, peak

    def close(self) -> None:
        """Stop measuring."""
        self._end()

    def _begin(self) -> None:
        import torch

        if self._device.startswith("cuda"):
            torch.cuda.synchronize(self._device)
            torch._C._cuda_clearCublasWorkspaces()
            torch.cuda.reset_peak_memory_stats(self._device)
            self._allocated_before = torch.cuda.memory_allocated(self._device)
            return
        from torch.profiler import ProfilerActivity, profile

        # The profiler records every allocation. torch has no other counter for a CPU.
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it logs its start and end
        self._profiler = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
        self._profiler.__enter__()

    def _end(self) -> tuple[int, int]:
        import torch

        if self._device.startswith("cuda"):
            torch.cuda.synchronize(self._device)
            highest = torch.cuda.max_memory_allocated(self._device)
            torch._C._cuda_clearCublasWorkspaces()  # allocated by the first matrix product
            return torch.cuda.memory_allocated(
                self._device
            ) - self._allocated_before, highest - self._allocated_before
        self._profiler.__exit__(None, None, None)
        events = self._profiler.profiler.kineto_results.events()
        growth = peak = 0
        for event in events:
            if event.name() == "[memory]":
                growth += event.nbytes()
                peak = max(peak, growth)
        return growth, peak
