"""Quantization of a base by bitsandbytes while it is loaded."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from harness.config import ModelConfig
from harness.models.loading.skeleton import load_skeleton
from harness.models.quantization import Quantization
from harness.models.text_layers import read_by_others

if TYPE_CHECKING:
    from torch import nn

REPACKS = "support_avx512bf16_for_cpu"  # attribute of a layer of bitsandbytes


def compute_dtype(config: ModelConfig, quantization: Quantization | None) -> str | None:
    """Return the dtype in which 4-bit weights are multiplied; None without 4-bit weights."""
    if quantization is None or quantization.kind == "int8":
        return None
    if config.compute_dtype != "auto":
        return config.compute_dtype
    return "bfloat16" if config.dtype in ("auto", "bfloat16") else "float32"


def disable_repacking(model: nn.Module) -> None:
    """Prevent bitsandbytes from repacking 4-bit weights.

    On CPUs with AVX512-BF16, layers repack themselves at their first forward pass without
    gradients. This rounds block maxima to bfloat16 and undoes double quantization permanently. The
    base would change in its first evaluation. Layers with sizes that are not multiples of 32 would
    fail.
    """
    for module in model.modules():
        if hasattr(module, REPACKS):
            setattr(module, REPACKS, False)


def bitsandbytes_config(config: ModelConfig, quantization: Quantization | None) -> Any:
    """Return the BitsAndBytesConfig of a quantization, or None."""
    if quantization is None:
        return None
    import torch
    from transformers import BitsAndBytesConfig

    options: dict[str, Any] = {"llm_int8_skip_modules": _unquantized_layers(config)}
    if quantization.kind == "int8":
        # bitsandbytes warns at every layer that float32 inputs become float16.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        return BitsAndBytesConfig(load_in_8bit=True, **options)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=quantization.kind,
        bnb_4bit_use_double_quant=quantization.double,
        bnb_4bit_compute_dtype=getattr(torch, str(compute_dtype(config, quantization))),
        **options,
    )


def _unquantized_layers(config: ModelConfig) -> list[str] | None:
    """Return layers that stay in full precision because other modules read their weights.

    None if there are none. The library then excludes its own default layers, which a list would
    replace.
    """
    from transformers.quantizers.base import get_keys_to_not_convert

    skeleton = load_skeleton(config)
    read = read_by_others(skeleton)
    return [*read, *get_keys_to_not_convert(skeleton)] if read else None
