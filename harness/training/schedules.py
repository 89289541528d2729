"""Learning-rate schedules as pure functions of the step, so that resuming needs no state."""

from __future__ import annotations

import math

from harness.config import TrainingConfig


def factor(config: TrainingConfig, step: int, total_steps: int) -> float:
    """Return the factor on the learning rates in optimizer step ``step`` (from 0), in (0, 1]."""
    n_warmup = warmup_steps(config, total_steps)
    if step < n_warmup:
        return (step + 1) / (n_warmup + 1)
    lowest = config.min_learning_rate_ratio
    shape = {
        "constant": constant,
        "linear": lambda t, total: above(lowest, linear(t, total)),
        "cosine": lambda t, total: above(lowest, cosine(t, total)),
        "stlr": lambda t, total: stlr(t, total, config.cut_fraction, config.ratio),
    }[config.schedule]
    return shape(step - n_warmup, max(1, total_steps - n_warmup))


def warmup_steps(config: TrainingConfig, total_steps: int) -> int:
    """Return the number of warmup steps; a share of all steps is rounded up, as in transformers."""
    if config.warmup_share is None:
        return config.warmup_steps
    return math.ceil(round(config.warmup_share * total_steps, 9))


def above(lowest: float, factor: float) -> float:
    """Rescale a factor from [0, 1] to [``lowest``, 1]."""
    return lowest + (1 - lowest) * factor if lowest else factor


def constant(step: int, total_steps: int) -> float:
    """Return 1."""
    return 1.0


def linear(step: int, total_steps: int) -> float:
    """Decay linearly from 1 to 1/total, so that the last step has a positive rate."""
    return max(0.0, (total_steps - step) / total_steps)


def cosine(step: int, total_steps: int) -> float:
    """Decay from 1 to 0 along a cosine (SGDR without restarts, arXiv:1608.03983, Eq. 5)."""
    return 0.5 * (1 + math.cos(math.pi * min(1.0, step / total_steps)))


def stlr(step: int, total_steps: int, cut_fraction: float = 0.1, ratio: float = 32) -> float:
    """Return the slanted triangular rate divided by its maximum (ULMFiT, arXiv:1801.06146, Eq. 3).

    η_t/η_max = (1 + p·(ratio − 1))/ratio. p rises from 0 to 1 until cut = ⌊T·cut_fraction⌋ and
    falls to 0 at T.

    As printed, p is negative if T·cut_fraction is not an integer, and short runs divide by zero.
    Here p falls over T − cut steps and is limited to [0, 1].
    """
    cut = math.floor(total_steps * cut_fraction)
    rising = step < cut
    p = step / cut if rising else 1 - (step - cut) / max(1, total_steps - cut)
    return (1 + min(1.0, max(0.0, p)) * (ratio - 1)) / ratio
