"""Compute precision: the accelerator that applies it, and checks against device and weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.config import TrainingConfig
from harness.errors import InputError
from harness.methods.base import Method

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator


def accelerator_for(precision: str, device: str) -> Accelerator:
    """Return an Accelerator that autocasts to ``precision`` (no, bf16 or fp16)."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()  # a worker's next trial may have another precision
    return Accelerator(mixed_precision=precision, cpu=device == "cpu")


def check_precision(
    training: TrainingConfig, method: Method, dtype: torch.dtype | None, device: str
) -> None:
    """Raise InputError if a base in ``dtype`` cannot be trained with the configured precision.

    ``dtype`` is None if it is not known yet. In float16, small gradients underflow unless the loss
    is scaled, which only ``precision=fp16`` does. Two different 16-bit types cannot be mixed in one
    pass.
    """
    import torch

    precision = training.precision
    if precision == "fp16" and device == "cpu":
        raise InputError("training.precision='fp16' needs a GPU; on a CPU use bf16 or no.")
    if precision == "bf16" and device != "cpu" and not has_bfloat16(device):
        raise InputError(
            f"training.precision='bf16' cannot be used: {torch.cuda.get_device_name(device)} does "
            "not "
            "compute in it. Use no, or fp16 with model.dtype=float16 or float32."
        )
    if dtype is None:
        return
    weights = f"this model's weights are in {str(dtype).removeprefix('torch.')}"
    if precision == "fp16" and dtype == torch.bfloat16:
        raise InputError(
            f"training.precision='fp16' cannot be used: {weights}. Use bf16 or no; or set "
            "model.dtype=float16 or float32."
        )
    if precision != "fp16" and dtype == torch.float16 and method.trains_in_base_dtype:
        raise InputError(
            f"training.precision={precision!r} cannot be used with this method: {weights}, where "
            "small "
            "gradients become 0 unless the loss is scaled. Use model.dtype=float32 or bfloat16"
            + ("." if device == "cpu" else ", or training.precision=fp16.")
        )
    if training.updates == "bf16_stochastic" and dtype != torch.bfloat16:
        raise InputError(
            f"training.updates='bf16_stochastic' cannot be used: {weights}. Use fp32, or "
            "model.dtype=bfloat16."
        )


def has_bfloat16(device: str) -> bool:
    """Return True if the GPU computes in bfloat16 natively."""
    import torch

    with torch.cuda.device(device):
        return torch.cuda.is_bf16_supported(including_emulation=False)
