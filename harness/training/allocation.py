"""Memory of tensors during a stretch of work: held at its end, and the peak."""

from __future__ import annotations

import os
from typing import Any


class AllocationMeter:
    """Counts from ``lap`` to ``lap`` what torch's own allocator gives out and takes back.

    Unlike the memory of the process this is exact on a CPU too, and the same in every run. Memory
    that a library takes past torch is not in it.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._held = 0
        self._profiler: Any = None
        self._begin()

    def lap(self) -> tuple[int, int]:
        """Bytes (more than at the last lap, the most in between beyond that); a new one begins."""
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
            torch.cuda.reset_peak_memory_stats(self._device)
            self._held = torch.cuda.memory_allocated(self._device)
            return
        from torch.profiler import ProfilerActivity, profile

        # The profiler sees every allocation; torch counts them for a CPU nowhere else.
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it would say when it begins and ends
        self._profiler = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
        self._profiler.__enter__()

    def _end(self) -> tuple[int, int]:
        import torch

        if self._device.startswith("cuda"):
            torch.cuda.synchronize(self._device)
            most = torch.cuda.max_memory_allocated(self._device)
            return torch.cuda.memory_allocated(self._device) - self._held, most - self._held
        self._profiler.__exit__(None, None, None)
        events = self._profiler.profiler.kineto_results.events()
        held = peak = 0
        for event in events:
            if event.name() == "[memory]":
                held += event.nbytes()
                peak = max(peak, held)
        return held, peak
