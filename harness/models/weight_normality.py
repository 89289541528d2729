"""Test of a base's weights for normality, which NF4 assumes, and of the error of quantization."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.models.stored_bytes import linear_layers

if TYPE_CHECKING:
    from torch import Tensor, nn

ROWS = 64  # sampled of each layer
WEIGHTS = 4096  # sampled of each row: scipy's p-values hold to 5000
LEVEL = 0.05
QUANTIZATIONS = ("nf4", "fp4", "int8")


@dataclass(frozen=True)
class LayerWeights:
    """Figures of one linear layer over the same sampled rows, each the weights of one output."""

    name: str
    rows: int
    rejected: float  # share of rows that Shapiro-Wilk rejects at 5 %; normal rows give 0.05
    skewness: float  # mean over rows; 0 for normal rows
    excess_kurtosis: float  # likewise
    error: dict[str, float]  # of each of QUANTIZATIONS: ‖W − dequantize(quantize(W))‖ / ‖W‖


def base_weights(model: nn.Module) -> list[dict[str, Any]]:
    """Return a ``LayerWeights``, as a mapping, for each linear layer of a base at full precision.

    This is the test of arXiv:2305.14314 App. F, which rejected 7.5 % of LLaMA 7B's rows. Its power
    grows with the length of a row, so shares are comparable only between layers of the same width.
    """
    return [asdict(layer_weights(name, rows)) for name, rows in _sampled(model)]


def layer_weights(name: str, rows: Tensor) -> LayerWeights:
    """Measure ``rows`` (n, in) at full precision. A row of equal weights counts as rejected."""
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
    """Yield (name, (rows, in)) of each layer, with the same rows in every call."""
    from transformers.pytorch_utils import Conv1D

    for name, layer in linear_layers(model).items():
        weight = layer.weight.detach()
        if isinstance(layer, Conv1D):
            weight = weight.T
        chosen = np.random.default_rng(0).permutation(len(weight))[:ROWS]
        yield name, weight[np.sort(chosen)]


def _error(rows: Tensor, kind: str) -> float:
    """Return the error as bitsandbytes stores weights: 4 bits in blocks of 64, or 8 with row scales."""
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
