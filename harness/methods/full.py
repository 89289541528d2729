"""Full fine-tuning: every parameter is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.methods.base import AdaptContext, Method

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Full(Method):
    """Update θ ← θ − η·∇L(θ) of all parameters θ.

    The reference for all other methods.
    """

    @property
    def trains_base_weights(self) -> bool:
        return True

    def adapt(self, model: nn.Module, context: AdaptContext) -> nn.Module:
        return model.requires_grad_(True)
