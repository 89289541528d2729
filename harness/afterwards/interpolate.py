"""Interpolation of base and tuned weights: WiSE-FT, Wortsman et al. 2021, arXiv:2109.01903."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from harness.models.weights.master_weights import as_computed

if TYPE_CHECKING:
    from torch import Tensor, nn


def weights(model: nn.Module) -> dict[str, Tensor]:
    """Copy every parameter into the machine's memory."""
    return {name: p.detach().to("cpu", copy=True) for name, p in model.named_parameters()}


def interpolate(
    model: nn.Module, before: Mapping[str, Tensor], after: Mapping[str, Tensor], share: float
) -> None:
    """Give ``model`` the weights θ = (1 − α)·θ₀ + α·θ₁ with α = ``share`` (Eq. 1).

    α = 0 is θ₀ and α = 1 is θ₁, bit for bit; between them it is computed in float32.
    """
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            old, new = before[name], after[name]
            between = torch.lerp(old.float(), new.float(), share)
            parameter.copy_(as_computed(between, parameter.dtype))
