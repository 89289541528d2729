"""LN tuning, Zhao et al. 2023, arXiv:2312.11420: only the normalization layers are trained."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import InputError
from harness.methods.base import AdaptContext, Method
from harness.methods.targets import shortest_ends
from harness.methods.with_peft import put_adapter

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class LNTuning(Method):
    """Train gains (and biases, if any) of every LayerNorm or RMSNorm."""

    @property
    def trains_in_base_dtype(self) -> bool:
        """True: peft copies the layers in the dtype of the base."""
        return True

    def trainable_parameters(self, model: nn.Module) -> int:
        """Return the number of parameters in the normalization layers of ``model``."""
        return sum(p.numel() for norm in norms(model).values() for p in norm.parameters())

    def check(self, model: nn.Module) -> None:
        if not norms(model):
            raise InputError(
                "method=ln_tuning cannot be used: this model has no normalization layer with "
                "parameters of its own."
            )

    def adapt(self, model: nn.Module, context: AdaptContext) -> nn.Module:
        from peft import LNTuningConfig, TaskType

        targets = shortest_ends(norms(model), [name for name, _ in model.named_modules()])
        config = LNTuningConfig(task_type=TaskType.CAUSAL_LM, target_modules=targets)
        with warnings.catch_warnings():  # for every layer that is not linear
            warnings.filterwarnings("ignore", "Unsupported layer type")
            return put_adapter(model, config, norms(model))


def norms(model: nn.Module) -> dict[str, nn.Module]:
    """Return name → normalization layer, recognised by class name in any architecture."""
    return {
        name: module
        for name, module in model.named_modules()
        if "norm" in type(module).__name__.lower() and list(module.parameters(recurse=False))
    }
