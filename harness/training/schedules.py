"""Learning-rate schedules as pure functions of the step, so that a resumed run needs no state."""

from __future__ import annotations

import math

from harness.config import TrainingConfig


def factor(config: TrainingConfig, step: int, total_steps: int) -> float:
    """Return the multiplier of the learning rates in optimizer step ``step`` (from 0), in (0, 1]."""
    warm = warmup_steps(config, total_steps)
    if step < warm:
        return (step + 1) / (warm + 1)
    lowest = config.min_learning_rate_ratio
    shape = {
        "constant": constant,
        "linear": lambda t, total: above(lowest, linear(t, total)),
        "cosine": lambda t, total: above(lowest, cosine(t, total)),
        "stlr": lambda t, total: stlr(t, total, config.cut_fraction, config.ratio),
    }[config.schedule]
    return shape(step - warm, max(1, total_steps - warm))


def warmup_steps(config: TrainingConfig, total_steps: int) -> int:
    """Return ``warmup_steps``, or ``warmup_share`` of all steps rounded up, as in transformers."""
    if config.warmup_share is None:
        return config.warmup_steps
    return math.ceil(round(config.warmup_share * total_steps, 9))


def above(lowest: float, factor: float) -> float:
    """Rescale a factor from [0, 1] to [``lowest``, 1]."""
    return lowest + (1 - lowest) * factor if lowest else factor


def constant(step: int, total_steps: int) -> float:
    return 1.0


def linear(step: int, total_steps: int) -> float:
    """Decay linearly from 1 to 1/total; the last step still has a positive rate."""
    return max(0.0, (total_steps - step) / total_steps)


def cosine(step: int, total_steps: int) -> float:
    """SGDR without restarts, arXiv:1608.03983 Eq. 5, from 1 to 0."""
    return 0.5 * (1 + math.cos(math.pi * min(1.0, step / total_steps)))


def stlr(step: int, total_steps: int, cut_fraction: float = 0.1, ratio: float = 32) -> float:
    """Slanted triangular rate over its maximum, ULMFiT, arXiv:1801.06146 Eq. 3.

    cut = ⌊T·cut_fraction⌋; p rises from 0 to 1 until cut and falls to 0 at T;
    η_t = η_max·(1 + p·(ratio − 1))/ratio. As printed p becomes negative where T·cut_fraction is no
    integer, and divides by zero for short runs. Here the fall is over T − cut, and p is kept in [0, 1].
    """
    cut = math.floor(total_steps * cut_fraction)
    rising = step < cut
    p = step / cut if rising else 1 - (step - cut) / max(1, total_steps - cut)
    return (1 + min(1.0, max(0.0, p)) * (ratio - 1)) / ratio
