"""BitFit, Ben Zaken et al. 2021, arXiv:2106.10199: only the bias terms are trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import InputError
from harness.methods.base import AdaptContext, Method

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class BitFit(Method):
    """Train every parameter named ``bias``, in linear and in normalization layers (§3)."""

    @property
    def trains_base_weights(self) -> bool:
        return True

    def trainable_parameters(self, model: nn.Module) -> int:
        """Return the number of bias terms of ``model``."""
        return sum(p.numel() for name, p in model.named_parameters() if _is_bias(name))

    def check(self, model: nn.Module) -> None:
        if not any(_is_bias(name) for name, _ in model.named_parameters()):
            raise InputError(
                f"method=bitfit cannot be used: {type(model).__name__} has no bias terms to train. "
                "Models with some: GPT-2, OPT, GPT-NeoX, BLOOM, Qwen2."
            )

    def adapt(self, model: nn.Module, context: AdaptContext) -> nn.Module:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(_is_bias(name))
        return model


def _is_bias(name: str) -> bool:
    return name.rsplit(".", 1)[-1] == "bias"
