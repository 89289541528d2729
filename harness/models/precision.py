"""Master weights in float32 for trained parameters, rounded to the base's dtype in every pass.

Most checkpoints are stored in 16 bits, where a fine-tuning step is smaller than the distance from a
weight to the next number. If weights were rounded at every step, hardly any would move. Trained
parameters are therefore held in float32, as are their gradients and the optimizer's state
(Micikevicius et al. 2018, arXiv:1710.03740 §3.1). Forward and backward passes see them rounded to
the base's dtype. All methods then compute alike, and an untrained model equals the base to the last
bit.

Weights begin at numbers that 16 bits can hold. Rounded to the nearest, a weight would show no
movement before it is halfway to the next number. Each entry of a tensor is therefore rounded up
from its own threshold, which depends on its place. Of entries that moved a tenth of the way, a
tenth appear a whole step further, so the model sees the learned change. The rounding is
deterministic. The float32 values are saved.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from harness.models.views import as_pretrained

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import Tensor, nn

COMPUTES_IN = "computes_in"  # attribute of a parameter kept in float32: its dtype in passes
GOLDEN = 0x9E3779B1  # 2³²/φ
AT_ONCE = 2**24  # entries that are rounded at a time


def rest_in_float32(model: nn.Module) -> None:
    """Convert every trainable 16-bit parameter of ``model`` to float32, in place."""
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.is_floating_point():
            put(parameter, parameter.data.float())


def put(parameter: nn.Parameter, values: Tensor) -> None:
    """Assign ``values`` to ``parameter``. If they are float32, a 16-bit parameter becomes float32."""
    import torch

    half = parameter.dtype in (torch.bfloat16, torch.float16)
    if half and values.dtype == torch.float32:
        setattr(parameter, COMPUTES_IN, parameter.dtype)
        parameter.data = values.to(parameter.device)
    else:
        parameter.data.copy_(values)


def computes_in(parameter: nn.Parameter) -> torch.dtype | None:
    """Return the dtype in passes of a parameter kept in float32; None for all others."""
    return getattr(parameter, COMPUTES_IN, None)


@contextmanager
def computing(model: nn.Module) -> Iterator[None]:
    """Round parameters kept in float32 to their compute dtype while ``model`` runs in this context.

    Gradients of all backward passes inside are summed in float32 and are available afterwards.
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
        parameter.data = as_computed(parameter.data, getattr(parameter, COMPUTES_IN))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for parameter, value in zip(resting, values, strict=True):
            parameter.grad = None
            parameter.data = value
            parameter.grad = sums.get(parameter)


def as_computed(values: Tensor, dtype: torch.dtype, places: Tensor | None = None) -> Tensor:
    """Round float32 ``values`` of a tensor to ``dtype``, each at the threshold of its position.

    ``places`` gives positions in the flattened tensor if ``values`` are only a part of it. Thresholds
    are evenly spread: multiples of 2³²/φ (Knuth's multiplicative hashing). Dtypes other than bfloat16
    are rounded to nearest.
    """
    import torch

    if dtype != torch.bfloat16 or values.dtype != torch.float32:
        return values.to(dtype)
    flat = values.detach().contiguous().flatten()
    found = torch.empty(len(flat), dtype=dtype, device=flat.device)
    for at in range(0, len(flat), AT_ONCE):
        part = slice(at, min(at + AT_ONCE, len(flat)))
        index = torch.arange(part.start, part.stop, device=flat.device)
        index = index if places is None else places[part].long()
        found[part] = cut(flat[part], (index * GOLDEN >> 16 & 0xFFFF).int())
    return found.view(values.shape)


def cut(values: Tensor, add: Tensor) -> Tensor:
    """Convert float32 ``values`` to bfloat16: to the number below, or above if ``add`` reaches it.

    bfloat16 is the upper half of a float32's bits. int32 ``add`` is added to the lower half, which is
    then cut off. Numbers that bfloat16 can hold stay unchanged.
    """
    import torch

    bits = values.contiguous().view(torch.int32)
    moved = (bits + add).bitwise_and_(-1 << 16).view(torch.float32)
    return torch.where(values.isfinite(), moved, values).bfloat16()


def save_whole(model: nn.Module, state: Mapping[str, Tensor], folder: Path) -> None:
    """Save ``state``, all tensors of ``model`` as stored between passes, as a model in safetensors.

    If some are float32, transformers loads the model in float32, with the trained weights. Rounded to
    the nearest 16-bit number, weights that changed little would equal the base's again.
    """
    import torch

    as_pretrained(model).save_pretrained(folder, state_dict=dict(state))
    if any(tensor.dtype == torch.float32 for tensor in state.values()):
        file = folder / "config.json"
        config = json.loads(file.read_text(encoding="utf-8")) | {"dtype": "float32"}
        file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def copies_bytes(model: nn.Module) -> int:
    """Return the bytes of the rounded copies while ``model`` runs."""
    return sum(
        p.numel() * getattr(p, COMPUTES_IN).itemsize for p in model.parameters() if _rests(p)
    )


def forget_rest(model: nn.Module) -> None:
    """Forget the compute dtypes. Called when a base is given back, which is stored in its own dtype."""
    for parameter in model.parameters():
        if computes_in(parameter) is not None:
            delattr(parameter, COMPUTES_IN)


def _rests(parameter: nn.Parameter) -> bool:
    dtype = computes_in(parameter)
    return dtype is not None and dtype != parameter.dtype
