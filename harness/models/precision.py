"""What is trained rests in float32, and is rounded to the dtype of the base for every pass.

Most checkpoints are stored in 16 bits, where a step of fine-tuning is smaller than the distance from a
weight to the next number: rounded at every step, hardly any would move. So the trained parameters are
held in float32, and so are their gradients and what the optimizer keeps (Micikevicius et al. 2018,
arXiv:1710.03740 §3.1). Forward and backward passes see them rounded to what the base is stored in, so
that all methods compute alike, and a model that is not trained yet is the base to the last bit. It is
measured as it computes; what is saved is at rest, and loading it at the base's dtype rounds it again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import Tensor, nn

COMPUTES_IN = "computes_in"  # attribute of a parameter at rest: the dtype that passes see


def rest_in_float32(model: nn.Module) -> None:
    """Hold every trainable parameter of ``model`` that is in 16 bits in 32, in place."""
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.is_floating_point():
            put(parameter, parameter.data.float())


def put(parameter: nn.Parameter, values: Tensor) -> None:
    """Give ``parameter`` these ``values``; one in 16 bits rests in float32 from then on if they are."""
    import torch

    half = parameter.dtype in (torch.bfloat16, torch.float16)
    if half and values.dtype == torch.float32:
        setattr(parameter, COMPUTES_IN, parameter.dtype)
        parameter.data = values.to(parameter.device)
    else:
        parameter.data.copy_(values)


def computes_in(parameter: nn.Parameter) -> torch.dtype | None:
    """The dtype that passes see of a parameter at rest in float32; None for all others."""
    return getattr(parameter, COMPUTES_IN, None)


@contextmanager
def computing(model: nn.Module) -> Iterator[None]:
    """The stretch in which ``model`` runs: what rests in float32 is rounded to what it computes in.

    The gradients of all backward passes within are summed in float32 and are there afterwards.
    """
    resting = [p for p in model.parameters() if _rests(p)]
    values = [parameter.data for parameter in resting]
    sums: dict[nn.Parameter, Tensor] = {}

    def add(parameter: Any) -> None:
        gradient, parameter.grad = parameter.grad.float(), None
        sums[parameter] = sums[parameter].add_(gradient) if parameter in sums else gradient

    handles = []
    for parameter in resting:
        if parameter.grad is not None:
            sums[parameter], parameter.grad = parameter.grad, None
        if parameter.requires_grad:
            handles.append(parameter.register_post_accumulate_grad_hook(add))
        parameter.data = parameter.data.to(getattr(parameter, COMPUTES_IN))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for parameter, value in zip(resting, values, strict=True):
            parameter.grad = None
            parameter.data = value
            parameter.grad = sums.get(parameter)


def save_whole(model: nn.Module, state: Mapping[str, Tensor], folder: Path) -> None:
    """Write ``state``, all tensors of ``model`` as they rest, as a model in safetensors.

    Its ``config.json`` names the dtype that ``model`` computes in: transformers rounds to it where no
    other is asked for, and so gives back the model that was measured, bit for bit.
    """
    with computing(model):
        model.save_pretrained(folder, state_dict=state)


def copies_bytes(model: nn.Module) -> int:
    """Bytes that the rounded copies take while ``model`` runs."""
    return sum(
        p.numel() * getattr(p, COMPUTES_IN).itemsize for p in model.parameters() if _rests(p)
    )


def forget_rest(model: nn.Module) -> None:
    """Let parameters be what they are now: a base that is given back is at rest as it computes."""
    for parameter in model.parameters():
        if computes_in(parameter) is not None:
            delattr(parameter, COMPUTES_IN)


def _rests(parameter: nn.Parameter) -> bool:
    dtype = computes_in(parameter)
    return dtype is not None and dtype != parameter.dtype
