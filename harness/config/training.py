"""Settings of the training loop: duration, learning rate, optimizer and precision."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from harness.config.strict import require
from harness.errors import InputError

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
    """Settings of the training loop: duration, learning rate, optimizer and precision."""

    learning_rate: float
    # pattern (re.search in a parameter's name) → its learning rate; the first match counts
    learning_rate_of: Mapping[str, float] | None
    freeze_layers: list[str]  # patterns of parameters that are not trained
    batch_size: int  # examples of an optimizer step on one device, before accumulation
    gradient_accumulation_steps: int
    max_steps: int | None  # optimizer steps; null: epochs decide
    epochs: float | None
    optimizer: Optimizer
    schedule: Schedule
    warmup_steps: int
    warmup_share: float | None  # of all steps, in place of warmup_steps
    min_learning_rate_ratio: float  # linear, cosine: the final rate, relative to learning_rate
    cut_fraction: float  # stlr: share of the steps in which the rate rises
    ratio: float  # stlr: the highest rate divided by the lowest
    weight_decay: float
    adam_beta1: float
    adam_beta2: float
    momentum: float  # sgd, rmsprop
    nesterov: bool  # sgd
    max_grad_norm: float | None
    precision: Literal["no", "bf16", "fp16"]
    updates: Literal[
        "fp32", "bf16_stochastic"
    ]  # of trained weights that the base stores in 16 bits
    gradient_checkpointing: bool
    loss_average: Literal["token", "sequence"]
    label_smoothing: float
    neftune_alpha: float  # 0: no noise
    token_mask_probability: float
    evaluate_before_training: bool
    eval_every: int | None  # optimizer steps; null: four times in a run
    checkpoint_every: int | None  # optimizer steps; null: at evaluations, at most once a minute
    select_checkpoint: Literal["last", "best"]  # the evaluated step whose weights are kept
    select_forgetting_limit: float | None  # best: only among steps with at most this forgetting.kl

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
        share = self.warmup_share
        require(
            share is None or 0 <= share < 1, at + "warmup_share", share, "null or a share in [0, 1)"
        )
        require(
            0 < self.cut_fraction < 1, at + "cut_fraction", self.cut_fraction, "a share in (0, 1)"
        )
        require(self.ratio >= 1, at + "ratio", self.ratio, "at least 1")
        require(self.weight_decay >= 0, at + "weight_decay", self.weight_decay, "0 or more")
        for name in ("adam_beta1", "adam_beta2", "momentum"):
            require(0 <= getattr(self, name) < 1, at + name, getattr(self, name), "in [0, 1)")
        require(
            self.max_grad_norm is None or self.max_grad_norm > 0,
            at + "max_grad_norm",
            self.max_grad_norm,
            "null or above 0",
        )
        require(
            self.momentum > 0 or not self.nesterov,
            at + "nesterov",
            self.nesterov,
            "false where training.momentum is 0",
        )
        for name in ("label_smoothing", "token_mask_probability", "min_learning_rate_ratio"):
            value = getattr(self, name)
            require(0 <= value < 1, at + name, value, "a share in [0, 1)")
        require(
            self.neftune_alpha >= 0, at + "neftune_alpha", self.neftune_alpha, "0 (off) or above"
        )
        limit = self.select_forgetting_limit
        require(
            limit is None or (limit >= 0 and self.select_checkpoint == "best"),
            at + "select_forgetting_limit",
            limit,
            "null, or 0 or more with training.select_checkpoint=best",
        )
        for pattern, rate in (self.learning_rate_of or {}).items():
            _check_pattern(at + "learning_rate_of", pattern)
            require(rate > 0, f"{at}learning_rate_of.{pattern}", rate, "above 0")
        for pattern in self.freeze_layers:
            _check_pattern(at + "freeze_layers", pattern)


def _check_pattern(field: str, pattern: str) -> None:
    accepted = "a regular expression that matches names of parameters, such as embed or layers.0."
    try:
        re.compile(pattern)
    except re.error:
        raise InputError(f"{field}: {pattern!r} cannot be used: it must be {accepted}") from None
    require(pattern != "", field, pattern, accepted.rstrip("."))
