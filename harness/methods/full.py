"""Full fine-tuning: trains every parameter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.methods.base import AdaptContext, Method

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Full(Method):
    """θ ← θ − η·∇L(θ) for all of θ. The reference for all other methods."""

    @property
    def trains_base_weights(self) -> bool:
        return True

    def adapt(self, model: nn.Module, plan: AdaptContext) -> nn.Module:
        return model.requires_grad_(True)
