"""Memory and time that a configuration needs, measured on a few real steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Footprint:
    """Peak memory in GB (1e9 bytes) of a step with the longest sequences, and times in seconds.

    The four parts are tensors: weights of the adapted model, gradients, optimizer state, and
    activations with all temporary tensors. ``peak_gb`` is torch's allocated memory on a GPU, and
    the memory of the whole process on a CPU, as in records. ``evaluation_peak_gb`` is the separate
    peak of scoring and generation. Times are for one trial.
    """

    device: str  # name of the device
    available_gb: float  # available to all workers on the device together
    total_steps: int
    peak_gb: float  # of training
    weights_gb: float = 0.0
    gradients_gb: float = 0.0
    optimizer_gb: float = 0.0
    activations_gb: float = 0.0
    micro_batch_size: int = 0  # sequences; 0: not measured, because it diverged or does not fit
    step_seconds: float = 0.0  # of a mean step
    scoring_seconds: float = 0.0  # all likelihood evaluations of a run
    answering_seconds: float = 0.0  # generation at the end of a run, at maximum length
    watts: float | None = None  # of the device, over a step; None: not reported
    infeasible: str | None = None  # why no step could be taken
    evaluation_peak_gb: float = 0.0  # of scoring and answering
    idle_gb: float = 0.0  # of a process on a CPU after the measurement, without the base
    unmeasured: str | None = None  # error during measurement; its trials run anyway
    trainable_parameters: int | None = None  # None: not counted, by an earlier version

    @property
    def needed_gb(self) -> float:
        """Return the memory in GB that a device must have for a trial."""
        return max(self.peak_gb, self.evaluation_peak_gb)

    @property
    def trial_seconds(self) -> float:
        """Return the seconds of training and evaluation of one trial."""
        return self.step_seconds * self.total_steps + self.scoring_seconds + self.answering_seconds


def beside_each_other(found: Sequence[Footprint]) -> list[Footprint]:
    """Add to each peak of a process what other configurations leave in it: libraries, caches.

    A worker trains them in turn, in any order.
    """
    most = max((each.idle_gb for each in found), default=0.0)

    def beside_others(peak: float, own: Footprint) -> float:
        return peak + (most - own.idle_gb) if peak > 0 else peak

    return [
        replace(
            each,
            peak_gb=beside_others(each.peak_gb, each),
            evaluation_peak_gb=beside_others(each.evaluation_peak_gb, each),
        )
        for each in found
    ]
