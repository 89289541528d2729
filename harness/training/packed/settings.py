"""Settings of training that members of a pack may differ in, and those that a pack cannot have."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from harness.config import TrainingConfig

# Each member has its own.
OWN = (
    *("learning_rate", "learning_rate_of", "freeze_layers"),
    *("schedule", "warmup_steps", "warmup_share", "min_learning_rate_ratio"),
    *("cut_fraction", "ratio", "weight_decay", "adam_beta1", "adam_beta2", "max_grad_norm"),
    *("momentum", "nesterov"),  # of other optimizers
)


def shared(training: TrainingConfig) -> dict[str, Any]:
    """Return the settings that all members of a pack have in common."""
    return {name: value for name, value in asdict(training).items() if name not in OWN}


def cannot_pack(training: TrainingConfig) -> str | None:
    """Return the setting with which a run cannot be in a pack, as ``key=value``; None without one."""
    refused = {
        "optimizer": training.optimizer != "adamw",
        "precision": training.precision == "fp16",  # scales the loss of each run by its own factor
        "updates": training.updates != "fp32",
        "gradient_checkpointing": training.gradient_checkpointing,  # would draw dropout again
        "neftune_alpha": training.neftune_alpha > 0,
    }
    found = next((name for name, is_refused in refused.items() if is_refused), None)
    return None if found is None else f"training.{found}={getattr(training, found)}"
