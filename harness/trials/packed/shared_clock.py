"""Cost of a trial in a pack: its share of the time that the trials spend together."""

from __future__ import annotations

import time
from typing import Any

from harness.training.resume import Progress
from harness.trials.cost import Clock

# Measured for the whole process, in which the other trials are too.
OF_ALL = ("peak_memory_gb", "evaluation_peak_memory_gb", "energy_kwh")


class SharedClock(Clock):
    """Clock of one trial of a pack. The costs of all trials add up to the time of the pack."""

    def __init__(self, device: str, pack: PackTime) -> None:
        super().__init__(device)
        self._pack = pack
        pack.clocks.append(self)

    def cost(
        self, progress: Progress, generation_tokens_per_second: float | None
    ) -> dict[str, Any]:
        """Return what ``Clock.cost`` does, without memory and energy, which only the pack has."""
        cost = super().cost(progress, generation_tokens_per_second)
        cost = {name: value for name, value in cost.items() if name not in OF_ALL}
        return cost | {"overhead_seconds": round(self._pack.overhead(), 4)}


class PackTime:
    """Time since a pack began, and the clocks of its trials."""

    def __init__(self) -> None:
        self.clocks: list[SharedClock] = []
        self._began, self._given, self._asked = time.perf_counter(), 0.0, 0

    def overhead(self) -> float:
        """Return the next trial's share of the time that is in no phase of any trial."""
        spent = sum(clock.seconds_in_phases for clock in self.clocks)
        left = max(0.0, time.perf_counter() - self._began - spent - self._given)
        share = left / max(1, len(self.clocks) - self._asked)
        self._given, self._asked = self._given + share, self._asked + 1
        return share
