"""The loop: how long, how fast, with what."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from harness.errors import InputError
from harness.strict import require

Optimizer = Literal[
    "adamw",
    "adam",
    "sgd",
    "rmsprop",
    "adadelta",
    "adafactor",
    "adamw_8bit",
    "paged_adamw",
    "paged_adamw_8bit",
]
Schedule = Literal["constant", "linear", "cosine", "stlr"]


@dataclass(frozen=True)
class TrainingConfig:
    """The loop: how long, how fast, with what."""

    learning_rate: float
    batch_size: int  # examples an optimizer step sees on one device, before accumulation
    gradient_accumulation_steps: int
    max_steps: int | None  # optimizer steps; null: epochs decide
    epochs: float | None
    optimizer: Optimizer
    schedule: Schedule
    warmup_steps: int
    cut_fraction: float  # stlr: share of the steps in which the rate rises
    ratio: float  # stlr: how much smaller the lowest rate is than the highest
    weight_decay: float
    adam_beta1: float
    adam_beta2: float
    max_grad_norm: float | None
    precision: Literal["no", "bf16", "fp16"]
    gradient_checkpointing: bool
    label_smoothing: float
    eval_every: int | None  # optimizer steps; null: four times a run
    checkpoint_every: int | None  # optimizer steps; null: at evaluations, once a minute at most

    def __post_init__(self) -> None:
        at = "training."
        require(
            math.isfinite(self.learning_rate) and self.learning_rate > 0,
            at + "learning_rate",
            self.learning_rate,
            "a finite number above 0",
        )
        for name in ("batch_size", "gradient_accumulation_steps"):
            require(getattr(self, name) >= 1, at + name, getattr(self, name), "at least 1")
        for name in ("max_steps", "eval_every", "checkpoint_every"):
            value = getattr(self, name)
            require(value is None or value >= 1, at + name, value, "null or at least 1")
        if self.max_steps is None and self.epochs is None:
            raise InputError("One of training.max_steps and training.epochs must be set.")
        require(
            self.epochs is None or self.epochs > 0, at + "epochs", self.epochs, "null or above 0"
        )
        require(self.warmup_steps >= 0, at + "warmup_steps", self.warmup_steps, "0 or more")
        require(
            0 < self.cut_fraction < 1, at + "cut_fraction", self.cut_fraction, "a share in (0, 1)"
        )
        require(self.ratio >= 1, at + "ratio", self.ratio, "at least 1")
        require(self.weight_decay >= 0, at + "weight_decay", self.weight_decay, "0 or more")
        for name in ("adam_beta1", "adam_beta2"):
            require(0 <= getattr(self, name) < 1, at + name, getattr(self, name), "in [0, 1)")
        require(
            self.max_grad_norm is None or self.max_grad_norm > 0,
            at + "max_grad_norm",
            self.max_grad_norm,
            "null or above 0",
        )
        require(
            0 <= self.label_smoothing < 1,
            at + "label_smoothing",
            self.label_smoothing,
            "a share in [0, 1)",
        )
