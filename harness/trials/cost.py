"""Cost of a trial, measured the same for every method, and the limits on it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from harness.config import LimitsConfig, TrainingConfig
from harness.language import recorded
from harness.models.quantization import CLASS_HEAD
from harness.models.weights.stored_bytes import number_of_weights
from harness.training.device_memory import peak_gb, reset_peak
from harness.training.energy import EnergyMeter
from harness.training.loop import Progress

if TYPE_CHECKING:
    from torch import nn


class Infeasible(Exception):
    """Raised if a limit is exceeded."""


class Clock:
    """Time of a trial by phase. Time outside training, evaluation and base measurements is overhead.

    Memory peaks are also separate for training, evaluation and base measurements.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.train_seconds = 0.0
        self.preparation_seconds = 0.0  # before the first step, such as scoring weights for a mask
        self._began = time.perf_counter()
        self._spent = {"evaluation": 0.0, "base": 0.0}
        self._peaks: dict[str, float] = {}  # GB, by phase; "training" is everything else
        self._energy = EnergyMeter(device)
        reset_peak(device)

    @contextmanager
    def spent_on(self, what: str) -> Iterator[None]:
        """Context that counts its time as the phase evaluation or base. They must not nest."""
        self._end_of("training")
        began = time.perf_counter()
        try:
            yield
        finally:
            self._spent[what] += time.perf_counter() - began
            self._end_of(what)

    def base_is_ready(self) -> None:
        """Reset the memory peak, because some methods first load another base to compare with it."""
        self._peaks.clear()
        reset_peak(self.device)

    @property
    def peak_gb(self) -> float:
        """Return the peak memory of training in GB (1e9 bytes), without the other phases."""
        return max(self._peaks.get("training", 0.0), peak_gb(self.device))

    @property
    def seconds_in_phases(self) -> float:
        """Return the seconds of training, its preparation, evaluation and measuring the base."""
        return sum(self._spent.values()) + self.preparation_seconds + self.train_seconds

    def _end_of(self, what: str) -> None:
        self._peaks[what] = max(self._peaks.get(what, 0.0), peak_gb(self.device))
        reset_peak(self.device)

    def cost(
        self, progress: Progress, generation_tokens_per_second: float | None
    ) -> dict[str, float]:
        """Return seconds, GB (1e9 bytes), tokens per second and kWh; unmeasured values are absent."""
        total = time.perf_counter() - self._began
        cost = {
            "train_seconds": self.train_seconds,
            "preparation_seconds": self.preparation_seconds,
            "evaluation_seconds": self._spent["evaluation"],
            "base_seconds": self._spent["base"],  # near 0 except for the first trial with a base
            "overhead_seconds": max(0.0, total - self.seconds_in_phases),
            "peak_memory_gb": self.peak_gb,
        }
        if "evaluation" in self._peaks:
            cost["evaluation_peak_memory_gb"] = self._peaks["evaluation"]
        if progress.seconds > 0:
            cost["tokens_per_second"] = progress.tokens / progress.seconds
        if generation_tokens_per_second is not None:
            cost["generation_tokens_per_second"] = generation_tokens_per_second
        cost = {name: round(value, 4) for name, value in cost.items()}
        joules = self._energy.joules()
        if joules is not None:
            cost["energy_kwh"] = round(joules / 3.6e6, 9)
        return cost


def check_size(limits: LimitsConfig, sizes: dict[str, float]) -> None:
    limit, n = limits.trainable_parameters, sizes["trainable_parameters"]
    if limit is not None and n > limit:
        raise Infeasible(f"{n:,} trainable parameters; limits.trainable_parameters={limit:,}")


def check_limits(limits: LimitsConfig, clock: Clock) -> None:
    seconds = clock.preparation_seconds + clock.train_seconds
    if limits.minutes is not None and seconds > 60 * limits.minutes:
        raise Infeasible(
            recorded(
                "{minutes:.2f} minutes; limits.minutes={limit:g}",
                minutes=seconds / 60,
                limit=limits.minutes,
            )
        )
    memory = clock.peak_gb
    if limits.peak_memory_gb is not None and memory > limits.peak_memory_gb:
        raise Infeasible(
            recorded(
                "{memory:.2f} GB in training; limits.peak_memory_gb={limit:g}",
                memory=memory,
                limit=limits.peak_memory_gb,
            )
        )


def sizes(model: nn.Module) -> dict[str, float]:
    """Return trained and total parameters and their ratio. A 4-bit weight counts as one parameter."""

    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(number_of_weights(parameter) for parameter in model.parameters())
    return {
        "trainable_parameters": trained,
        "total_parameters": total,
        "trainable_percent": round(100 * trained / total, 6),
    }


def room_for(model: nn.Module, training: TrainingConfig) -> int:
    """Return the bytes needed for one checkpoint and the tuned parameters.

    The optimizer state is counted as for AdamW, in 32 or 8 bits.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    least = 4 if training.updates == "fp32" else 1  # bytes per entry
    tensors = sum(p.numel() * max(least, p.element_size()) for p in trained)
    optimizer = training.optimizer
    kept = 2 if "8bit" in optimizer else 8 if "adam" in optimizer else 0
    return 2 * tensors + kept * sum(p.numel() for p in trained)


def final_sizes(model: nn.Module, trained: set[str]) -> dict[str, int]:
    """Return the sizes of what is saved. AdaLoRA, for example, saves less than it trains."""
    from peft import PeftModel, get_peft_model_state_dict

    kept: dict[str, Any] = (
        get_peft_model_state_dict(model)
        if isinstance(model, PeftModel)
        else {name: p for name, p in model.named_parameters() if name in trained}
    )
    named = model.named_parameters()
    kept |= {
        name: p for name, p in named if name.startswith(f"{CLASS_HEAD}.")
    }  # not part of an adapter
    # Further tensors of a trained module count too, such as the indices of a mask.
    owners = {name.rpartition(".")[0] for name in trained}
    beside = [b for name, b in model.named_buffers() if name.rpartition(".")[0] in owners]
    tensors = [*kept.values(), *beside]
    return {
        "trainable_parameters_final": sum(t.numel() for t in kept.values()),
        "adapter_bytes": sum(t.numel() * t.element_size() for t in tensors),
    }
