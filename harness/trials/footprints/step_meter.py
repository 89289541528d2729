"""Memory and time of a few real training steps."""

from __future__ import annotations

import time
from typing import Any

from harness.training.allocation import AllocationMeter
from harness.training.device_memory import peak_gb, reset_peak, synchronize
from harness.training.energy import EnergyMeter
from harness.trials.tuning import Tuning, Watch

COUNTED = 2  # steps: one creates the optimizer's state, one starts with it
TIMED = 2  # more: counting takes time too


class Enough(Exception):
    """Raised after the last measured step."""


class StepMeter(Watch):
    """Counts the memory of the first steps, then times the next ones and ends the run."""

    def __init__(self, device: str) -> None:
        self.peaks: list[float] = []  # GB: of adapting, then of each counted step
        self.laps: list[tuple[int, int]] = []  # bytes kept and peak bytes of each counted step
        self.seconds = 0.0  # of a step; 0 until all were taken
        self.watts: float | None = None
        self._device = device
        self._meter: AllocationMeter | None = None
        self._energy: EnergyMeter | None = None
        self._timed, self._began = 0, 0.0

    def begin(self, tuning: Tuning, step: int) -> None:
        """Separate the peak of adapting from that of the steps."""
        self.peaks.append(peak_gb(self._device))
        reset_peak(self._device)
        self._meter = AllocationMeter(self._device)

    def step(self, row: dict[str, Any]) -> None:
        """Measure one more step. Raises Enough after the last."""
        if self._meter is None:
            self._timed += 1
            if self._timed < TIMED:
                return
            assert self._energy is not None
            synchronize(self._device)
            seconds, joules = time.perf_counter() - self._began, self._energy.joules()
            self.watts = joules / seconds if joules else None
            self.seconds = seconds / TIMED
            raise Enough
        self.peaks.append(peak_gb(self._device))
        self.laps.append(self._meter.lap())
        if len(self.laps) == COUNTED:
            self.close()
            synchronize(self._device)
            self._energy = EnergyMeter(self._device)
            self._began = time.perf_counter()

    def close(self) -> None:
        """Stop counting."""
        if self._meter is not None:
            self._meter.close()
        self._meter = None
