"""Interpolation between base and tuned weights: WiSE-FT, Wortsman et al. 2021, arXiv:2109.01903."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from harness.models.weights.master_weights import as_computed

if TYPE_CHECKING:
    from torch import Tensor, nn


def weights(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of every parameter in CPU memory."""
    return {name: p.detach().to("cpu", copy=True) for name, p in model.named_parameters()}


def interpolate(
    model: nn.Module, before: Mapping[str, Tensor], after: Mapping[str, Tensor], share: float
) -> None:
    """Set the weights of ``model`` to θ = (1 − α)·θ₀ + α·θ₁ with α = ``share`` (Eq. 1).

    α = 0 gives θ₀ and α = 1 gives θ₁, bit for bit. Other values are computed in float32.
    """
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            old, new = before[name], after[name]
            between = torch.lerp(old.float(), new.float(), share)
            parameter.copy_(as_computed(between, parameter.dtype))
