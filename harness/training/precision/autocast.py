"""Compute precision of passes, as a device and the dtype of the weights allow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.config import TrainingConfig
from harness.errors import InputError
from harness.methods.base import Method

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator


def accelerator_for(precision: str, device: str) -> Accelerator:
    """Return the accelerator that autocasts to ``precision``; see ``check_precision``."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()  # a warm worker's next trial may want another precision
    return Accelerator(mixed_precision=precision, cpu=device == "cpu")


def check_precision(
    training: TrainingConfig, method: Method, dtype: torch.dtype | None, device: str
) -> None:
    """Raises InputError if a base in ``dtype`` (None: not known yet) cannot be trained so.

    In float16 small gradients underflow unless the loss is scaled, which ``precision=fp16`` does.
    With two different 16-bit types a pass would be half in one and half in the other.
    """
    import torch

    precision = training.precision
    if precision == "fp16" and device == "cpu":
        raise InputError("training.precision='fp16' needs a GPU; on a CPU use bf16 or no.")
    if precision == "bf16" and device != "cpu" and not has_bfloat16(device):
        raise InputError(
            f"training.precision='bf16' cannot be used: {torch.cuda.get_device_name(device)} does not "
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
            f"training.precision={precision!r} cannot be used with this method: {weights}, where small "
            "gradients become 0 unless the loss is scaled. Use model.dtype=float32 or bfloat16"
            + ("." if device == "cpu" else ", or training.precision=fp16.")
        )
    if training.updates == "bf16_stochastic" and dtype != torch.bfloat16:
        raise InputError(
            f"training.updates='bf16_stochastic' cannot be used: {weights}. Use fp32, or "
            "model.dtype=bfloat16."
        )


def has_bfloat16(device: str) -> bool:
    """Return whether the GPU computes in bfloat16 natively."""
    import torch

    with torch.cuda.device(device):
        return torch.cuda.is_bf16_supported(including_emulation=False)
