"""Memory of tensors during a stretch of work: held at its end, and the peak."""

from __future__ import annotations

import os
from typing import Any


class AllocationMeter:
    """Counts the memory that torch's allocator assigns and frees between calls of ``lap``.

    Unlike the memory of the process this is exact on a CPU too, and equal in every run. Memory that a
    library allocates outside torch is not counted.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._held = 0
        self._profiler: Any = None
        self._begin()

    def lap(self) -> tuple[int, int]:
        """Return bytes (growth since the last lap, peak above that level) and start a new lap."""
        held, peak = self._end()
        self._begin()
        return held, peak

    def close(self) -> None:
        """Stop counting."""
        self._end()

    def _begin(self) -> None:
        import torch

        if self._device.startswith("cuda"):
            torch.cuda.synchronize(self._device)
            torch._C._cuda_clearCublasWorkspaces()
            torch.cuda.reset_peak_memory_stats(self._device)
            self._held = torch.cuda.memory_allocated(self._device)
            return
        from torch.profiler import ProfilerActivity, profile

        # The profiler sees every allocation; torch has no other count of them on a CPU.
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it logs its start and end
        self._profiler = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
        self._profiler.__enter__()

    def _end(self) -> tuple[int, int]:
        import torch

        if self._device.startswith("cuda"):
            torch.cuda.synchronize(self._device)
            most = torch.cuda.max_memory_allocated(self._device)
            torch._C._cuda_clearCublasWorkspaces()  # the first product allocates them: nobody's state
            return torch.cuda.memory_allocated(self._device) - self._held, most - self._held
        self._profiler.__exit__(None, None, None)
        events = self._profiler.profiler.kineto_results.events()
        held = peak = 0
        for event in events:
            if event.name() == "[memory]":
                held += event.nbytes()
                peak = max(peak, held)
        return held, peak
