"""Base model settings: name, revision and precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Quantized = Literal["none", "nf4", "fp4", "int8"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class ModelConfig:
    """Base model and its precision. ``name`` is 'builtin', a hub name or a local directory."""

    name: str
    revision: str | None
    dtype: Dtype
    compute_dtype: Dtype  # of 4-bit layers; auto: float32 if dtype is float32, else bfloat16
    quantization: Quantized
    double_quantization: bool
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"]  # auto: transformers chooses
