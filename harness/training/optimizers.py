"""Construction of optimizers by name, each from the library that maintains it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from harness.config import TrainingConfig
from harness.language import recorded
from harness.training.precision.rounding import StochasticRounding

if TYPE_CHECKING:
    import torch

MOMENTS = {"state1", "state2"}  # names of paged state in bitsandbytes


def with_rounding(optimizer: Any, config: TrainingConfig, seed: int) -> Any:
    """Add stochastic rounding, seeded by ``seed``, if ``training.updates`` asks for it."""
    return StochasticRounding(optimizer, seed) if config.updates == "bf16_stochastic" else optimizer


def build_optimizer(
    config: TrainingConfig, groups: list[dict[str, Any]], device: str
) -> tuple[torch.optim.Optimizer, list[str]]:
    """Return the optimizer over ``groups`` (each with its ``lr``) and warnings for the record."""
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

        # Uses the configured rate: without scaling by parameter size and without a relative step, as
        # in prompt tuning (arXiv:2104.08691 §3).
        return Adafactor(
            groups,
            scale_parameter=False,
            relative_step=False,
            warmup_init=False,
            weight_decay=decay,
        ), []
    import bitsandbytes

    classes = {
        "adamw_8bit": bitsandbytes.optim.AdamW8bit,
        "paged_adamw": bitsandbytes.optim.PagedAdamW,
        "paged_adamw_8bit": bitsandbytes.optim.PagedAdamW8bit,
    }
    optimizer = classes[name](groups, betas=betas, weight_decay=decay)
    warnings = []
    if name.startswith("paged"):
        # Replaces the method of this object, so that its class name stays that of bitsandbytes.
        optimizer.load_state_dict = partial(_load_paged, optimizer)
        if device == "cpu":
            warnings.append(
                recorded(
                    "training.optimizer={name}: a CPU has no paging; the state is unpaged",
                    name=name,
                )
            )
    return optimizer, warnings


def _load_paged(optimizer: Any, state_dict: dict[str, Any]) -> None:
    """Load a state into paged memory. bitsandbytes alone would load it into device memory."""
    import torch

    type(optimizer).load_state_dict(optimizer, state_dict, move_to_device=False)
    for parameter, state in optimizer.state.items():
        for name in MOMENTS & state.keys():
            # Uses the state's shape, because stochastic rounding empties the parameter meanwhile.
            template = torch.empty((), device=parameter.device).expand(state[name].shape)
            buffer = optimizer.get_state_buffer(template, dtype=state[name].dtype)
            if parameter.is_cuda:
                torch.cuda.synchronize(parameter.device)  # wait until the buffer is zeroed
            state[name] = buffer.copy_(state[name])
    optimizer.to_gpu()  # the unpaged part
