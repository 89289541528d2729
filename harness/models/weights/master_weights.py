"""Master weights: trained parameters in float32, rounded to the base's dtype in every pass.

Most checkpoints are stored in 16 bits. A fine-tuning step is smaller than the distance between
neighbouring 16-bit numbers, so weights rounded at every step would hardly change. Trained
parameters, their gradients and the optimizer's state are therefore float32 (Micikevicius et al.
2018, arXiv:1710.03740, §3.1). Passes use them rounded to the base's dtype. All methods then compute
alike, and an untrained model equals the base bit for bit.

Weights start at numbers that 16 bits represent exactly. Rounded to nearest, no change would be
visible before half the distance to the next number. Each entry is therefore rounded up at a
threshold of its own, which depends on its position. Of entries that changed by a tenth of the
distance, a tenth are rounded up. The rounding is deterministic. The float32 values are saved.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from harness.models.views import as_pretrained

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import Tensor, nn

COMPUTES_IN = "computes_in"  # attribute of a float32 parameter: its dtype in passes
GOLDEN = 0x9E3779B1  # 2³²/φ
CHUNK = 2**24  # entries rounded at a time
BLOCK = 2**16  # of these on a CPU: what is computed of them stays in a core's cache


def convert_to_master_weights(model: nn.Module) -> None:
    """Convert every trainable 16-bit parameter of ``model`` to float32, in place."""
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.is_floating_point():
            assign(parameter, parameter.data.float())


def assign(parameter: nn.Parameter, values: Tensor) -> None:
    """Assign ``values`` to ``parameter``. float32 values turn a 16-bit parameter into a float32 one."""
    import torch

    half = parameter.dtype in (torch.bfloat16, torch.float16)
    if half and values.dtype == torch.float32:
        setattr(parameter, COMPUTES_IN, parameter.dtype)
        parameter.data = values.to(parameter.device)
    else:
        parameter.data.copy_(values)


def computes_in(parameter: nn.Parameter) -> torch.dtype | None:
    """Return the dtype in passes of a master weight; None for other parameters."""
    return getattr(parameter, COMPUTES_IN, None)


@contextmanager
def computing(model: nn.Module) -> Iterator[None]:
    """Round master weights to their compute dtype while ``model`` runs in this context.

    Gradients of all backward passes are summed in float32 and available afterwards.
    """
    masters = [p for p in model.parameters() if _is_master(p)]
    values = [parameter.data for parameter in masters]
    sums: dict[nn.Parameter, Tensor] = {}

    def add(parameter: Any) -> None:
        gradient, parameter.grad = parameter.grad.float(), None
        sums[parameter] = sums[parameter].add_(gradient) if parameter in sums else gradient

    handles = []
    for parameter in masters:
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
        for parameter, value in zip(masters, values, strict=True):
            parameter.grad = None
            parameter.data = value
            parameter.grad = sums.get(parameter)


def as_computed(values: Tensor, dtype: torch.dtype, places: Tensor | None = None) -> Tensor:
    """Round float32 ``values`` of a tensor to ``dtype``, each at the threshold of its position.

    ``places`` are positions in the flattened tensor if ``values`` are only a part of it. Thresholds
    are multiples of 2³²/φ modulo 2³², which are evenly spread (Knuth's multiplicative hashing).
    Dtypes other than bfloat16 are rounded to nearest.
    """
    import torch

    if dtype != torch.bfloat16 or values.dtype != torch.float32:
        return values.to(dtype)
    flat = values.detach().contiguous().flatten()
    if places is None and flat.device.type == "cpu":
        return _as_computed_on_a_cpu(flat).view(values.shape)
    output = torch.empty(len(flat), dtype=dtype, device=flat.device)
    for start in range(0, len(flat), CHUNK):
        part = slice(start, min(start + CHUNK, len(flat)))
        index = torch.arange(part.start, part.stop, device=flat.device)
        index = index if places is None else places[part].long()
        output[part] = truncate_to_bfloat16(flat[part], (index * GOLDEN >> 16 & 0xFFFF).int())
    return output.view(values.shape)


def _as_computed_on_a_cpu(flat: Tensor) -> Tensor:
    """Return what ``as_computed`` does for a flat tensor in bfloat16, in a seventh of the time."""
    import torch

    output = torch.empty(len(flat), dtype=torch.bfloat16)
    bits, upper_halves = flat.view(torch.int32), output.view(torch.int16)
    of_a_block, thresholds = _wrapped_multiples(BLOCK), torch.empty(BLOCK, dtype=torch.int32)
    for start in range(0, len(flat), BLOCK):
        part = slice(start, min(start + BLOCK, len(flat)))
        add = thresholds[: part.stop - start]
        torch.add(of_a_block[: len(add)], _wrapped(start * GOLDEN), out=add)  # modulo 2³²
        add.bitwise_right_shift_(16).bitwise_and_(0xFFFF)
        if flat[part].isfinite().all():
            upper_halves[part] = add.add_(bits[part]).bitwise_right_shift_(16)
        else:
            output[part] = truncate_to_bfloat16(flat[part], add)
    return output


@cache
def _wrapped_multiples(n: int) -> Tensor:
    """Return the first ``n`` multiples of 2³²/φ modulo 2³², as int32."""
    import torch

    return torch.arange(n, dtype=torch.int32) * _wrapped(GOLDEN)


def _wrapped(number: int) -> int:
    """Return the int32 with the same lower 32 bits."""
    return (number + 2**31) % 2**32 - 2**31


def truncate_to_bfloat16(values: Tensor, add: Tensor) -> Tensor:
    """Convert float32 ``values`` to bfloat16, after adding int32 ``add`` (0 to 65535) to their bits.

    bfloat16 is the upper half of a float32's bits. The lower half is cut off, so ``add`` decides if
    a number is rounded up. Numbers that bfloat16 represents exactly are unchanged.
    """
    import torch

    bits = values.contiguous().view(torch.int32)
    truncated = (bits + add).bitwise_and_(-1 << 16).view(torch.float32)
    return torch.where(values.isfinite(), truncated, values).bfloat16()


def save_whole(model: nn.Module, state: Mapping[str, Tensor], folder: Path) -> None:
    """Save ``state``, the stored tensors of ``model``, as a model in safetensors.

    If some are float32, transformers loads the model in float32. Rounded to 16 bits, weights that
    changed little would equal the base's again.
    """
    import torch

    as_pretrained(model).save_pretrained(folder, state_dict=dict(state))
    if any(tensor.dtype == torch.float32 for tensor in state.values()):
        file = folder / "config.json"
        config = json.loads(file.read_text(encoding="utf-8")) | {"dtype": "float32"}
        file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def copies_bytes(model: nn.Module) -> int:
    """Return the bytes of the rounded copies that exist while ``model`` runs."""
    return sum(
        p.numel() * getattr(p, COMPUTES_IN).itemsize for p in model.parameters() if _is_master(p)
    )


def forget_compute_dtypes(model: nn.Module) -> None:
    """Remove the compute dtypes when a base is returned to the pool."""
    for parameter in model.parameters():
        if computes_in(parameter) is not None:
            delattr(parameter, COMPUTES_IN)


def _is_master(parameter: nn.Parameter) -> bool:
    """Return True for a parameter stored in another dtype than passes use."""
    dtype = computes_in(parameter)
    return dtype is not None and dtype != parameter.dtype
