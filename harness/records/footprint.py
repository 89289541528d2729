"""Memory and time that a configuration needs, measured on a few real steps."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Footprint:
    """Peak memory in GB (1e9 bytes) of a step with the longest sequences.

    The four parts are tensors: weights of the adapted model, gradients, the optimizer's state, and
    activations with all temporary tensors. ``peak_gb`` is torch's allocated memory on a GPU and the
    whole process on a CPU, as in records. What scoring and answering take is apart, in
    ``evaluation_peak_gb``. Times are of one trial.
    """

    device: str  # its name
    available_gb: float  # available to this process and others like it together
    total_steps: int
    peak_gb: float  # of training
    weights_gb: float = 0.0
    gradients_gb: float = 0.0
    optimizer_gb: float = 0.0
    activations_gb: float = 0.0
    micro_batch_size: int = (
        0  # sequences at a time; 0: not measured, as it diverged or does not fit
    )
    step_seconds: float = 0.0  # of a step with sequences of mean length
    scoring_seconds: float = 0.0  # the likelihood of all texts, in every evaluation of a run
    answering_seconds: float = 0.0  # all answers at its end, each at the maximum length
    watts: float | None = None  # of the device, over a step; None: not reported
    infeasible: str | None = None  # why no step could be taken
    evaluation_peak_gb: float = 0.0  # of scoring and answering
    unmeasured: str | None = (
        None  # the error that kept it from being measured; its trials will tell
    )

    @property
    def needed_gb(self) -> float:
        """Memory that a device must have for a trial, in GB."""
        return max(self.peak_gb, self.evaluation_peak_gb)

    @property
    def trial_seconds(self) -> float:
        """Seconds of training and evaluation."""
        return self.step_seconds * self.total_steps + self.scoring_seconds + self.answering_seconds
