"""Normality test of a base's weights, which NF4 assumes to be normal, and quantization error."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.models.weights.stored_bytes import quantizable_layers

if TYPE_CHECKING:
    from torch import Tensor, nn

ROWS = 64  # sampled per layer
WEIGHTS = 4096  # sampled per row; scipy's p-values are valid up to 5000
LEVEL = 0.05
QUANTIZATIONS = ("nf4", "fp4", "int8")


@dataclass(frozen=True)
class LayerWeights:
    """Statistics of one linear layer over sampled rows. A row holds the weights of one output."""

    name: str
    rows: int
    rejected: float  # share of rows that Shapiro-Wilk rejects at level 5 %; 0.05 if normal
    skewness: float  # mean over rows; 0 if normal
    excess_kurtosis: float  # mean over rows; 0 if normal
    error: dict[str, float]  # quantization → ‖W − dequantize(quantize(W))‖ / ‖W‖


def base_weights(model: nn.Module) -> list[dict[str, Any]]:
    """Return the fields of a ``LayerWeights`` for each linear layer of a full-precision base.

    The test is that of arXiv:2305.14314, App. F, which rejected 7.5 % of LLaMA 7B's rows. Its power
    grows with the length of a row, so compare shares only between layers of the same width.
    """
    return [asdict(layer_weights(name, rows)) for name, rows in _sampled(model)]


def layer_weights(name: str, rows: Tensor) -> LayerWeights:
    """Measure ``rows`` (n, in) in full precision. A row of equal weights counts as rejected."""
    from scipy import stats

    values = rows.double().cpu().numpy()
    thinned = values[:, :: -(-values.shape[1] // WEIGHTS)]
    constant = np.ptp(thinned, axis=1) == 0
    varied = thinned[~constant]
    p = [stats.shapiro(row).pvalue for row in varied]
    return LayerWeights(
        name=name,
        rows=len(values),
        rejected=float((np.sum(np.asarray(p) < LEVEL) + constant.sum()) / len(values)),
        skewness=float(np.mean(stats.skew(varied, axis=1))) if len(varied) else 0.0,
        excess_kurtosis=float(np.mean(stats.kurtosis(varied, axis=1))) if len(varied) else 0.0,
        error={kind: _error(rows.float(), kind) for kind in QUANTIZATIONS},
    )


def _sampled(model: nn.Module):
    """Yield (name, (rows, in) weights) of each layer, with the same rows in every call."""
    from transformers.pytorch_utils import Conv1D

    for name, layer in quantizable_layers(model).items():
        weight = layer.weight.detach()
        if isinstance(layer, Conv1D):
            weight = weight.T
        chosen = np.random.default_rng(0).permutation(len(weight))[:ROWS]
        yield name, weight[np.sort(chosen)]


def _error(rows: Tensor, kind: str) -> float:
    """Return the relative error of a bitsandbytes format.

    4-bit formats use blocks of 64, int8 uses row scales.
    """
    from bitsandbytes import functional

    if kind == "int8":
        half = rows.half() if rows.is_cuda else rows  # its CUDA kernel accepts only float16
        integers, scales, _ = functional.int8_vectorwise_quant(half.contiguous())
        back = integers.float() * (scales / 127).unsqueeze(1)
    else:
        packed, state = functional.quantize_4bit(rows.contiguous(), quant_type=kind, blocksize=64)
        back = functional.dequantize_4bit(packed, state)
    norm = float(rows.norm())
    return float((back - rows).norm()) / norm if norm > 0 else 0.0
