"""Optimizers by name, each from the library that maintains it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.config import TrainingConfig
from harness.training.precision.rounding import StochasticRounding

if TYPE_CHECKING:
    import torch


def build_optimizer(
    config: TrainingConfig, groups: list[dict[str, Any]], device: str, seed: int
) -> tuple[Any, list[str]]:
    """Return the optimizer over ``groups`` (each with its own ``lr``) and warnings for the record.

    ``seed``: for stochastic rounding.
    """
    optimizer, warnings = _by_name(config, groups, device)
    if config.updates == "bf16_stochastic":
        return StochasticRounding(optimizer, seed), warnings
    return optimizer, warnings


def _by_name(
    config: TrainingConfig, groups: list[dict[str, Any]], device: str
) -> tuple[torch.optim.Optimizer, list[str]]:
    import torch

    decay, betas = config.weight_decay, (config.adam_beta1, config.adam_beta2)
    groups = [group for group in groups if group["params"]]
    name = config.optimizer
    if name == "adamw":
        return torch.optim.AdamW(groups, betas=betas, weight_decay=decay, fused=True), []
    if name == "adam":
        return torch.optim.Adam(groups, betas=betas, weight_decay=decay, fused=True), []
    if name == "sgd":
        return torch.optim.SGD(
            groups, weight_decay=decay, momentum=config.momentum, nesterov=config.nesterov
        ), []
    if name == "rmsprop":
        return torch.optim.RMSprop(groups, weight_decay=decay, momentum=config.momentum), []
    if name == "adadelta":
        return torch.optim.Adadelta(groups, weight_decay=decay), []
    if name == "adafactor":
        from transformers.optimization import Adafactor

        # The rate is the user's: no scaling by the parameter's size, no rate of its own (as in
        # prompt tuning, arXiv:2104.08691 §3).
        return Adafactor(
            groups,
            scale_parameter=False,
            relative_step=False,
            warmup_init=False,
            weight_decay=decay,
        ), []
    import bitsandbytes

    kinds = {
        "adamw_8bit": bitsandbytes.optim.AdamW8bit,
        "paged_adamw": bitsandbytes.optim.PagedAdamW,
        "paged_adamw_8bit": bitsandbytes.optim.PagedAdamW8bit,
    }
    warnings = []
    if name.startswith("paged") and device == "cpu":
        warnings.append(f"training.optimizer={name}: there is no paging on a CPU; state is unpaged")
    return kinds[name](groups, betas=betas, weight_decay=decay), warnings
