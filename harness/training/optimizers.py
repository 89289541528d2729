"""Optimizers by name, each from the library that maintains it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from harness.config import TrainingConfig
from harness.training.precision.rounding import StochasticRounding

if TYPE_CHECKING:
    import torch

MOMENTS = {"state1", "state2"}  # names of bitsandbytes for what it pages


def with_rounding(optimizer: Any, config: TrainingConfig, seed: int) -> Any:
    """Return ``optimizer``, with stochastic rounding drawn from ``seed`` where that is configured."""
    return StochasticRounding(optimizer, seed) if config.updates == "bf16_stochastic" else optimizer


def build_optimizer(
    config: TrainingConfig, groups: list[dict[str, Any]], device: str
) -> tuple[torch.optim.Optimizer, list[str]]:
    """Return the optimizer over ``groups`` (each with its own ``lr``) and warnings for the record."""
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
    optimizer = kinds[name](groups, betas=betas, weight_decay=decay)
    warnings = []
    if name.startswith("paged"):
        # An attribute of this object: a subclass would be saved under another name.
        optimizer.load_state_dict = partial(_load_paged, optimizer)
        if device == "cpu":
            why = "there is no paging on a CPU; state is unpaged"
            warnings.append(f"training.optimizer={name}: {why}")
    return optimizer, warnings


def _load_paged(optimizer: Any, state_dict: dict[str, Any]) -> None:
    """Load a state into the pages of ``optimizer``. bitsandbytes would put it into device memory."""
    import torch

    type(optimizer).load_state_dict(optimizer, state_dict, move_to_device=False)
    for parameter, state in optimizer.state.items():
        for name in MOMENTS & state.keys():
            # Of the state's shape, not the parameter's: stochastic rounding empties that meanwhile.
            like = torch.empty((), device=parameter.device).expand(state[name].shape)
            buffer = optimizer.get_state_buffer(like, dtype=state[name].dtype)
            if parameter.is_cuda:
                torch.cuda.synchronize(parameter.device)  # a kernel is filling it with zeros
            state[name] = buffer.copy_(state[name])
    optimizer.to_gpu()  # what is not paged
