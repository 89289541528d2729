"""(IA)³, Liu et al. 2022, arXiv:2205.05638: learned scales of keys, values and MLP activations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.methods.base import AdaptContext, Method
from harness.methods.targets import chosen_modules, out_of_mlp, peft_targets, shortest_ends
from harness.methods.with_peft import put_adapter

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class IA3(Method):
    """Scale outputs, l ⊙ (Wx), with l = 1 at the start; W(l ⊙ x) for an MLP's down projection (§3.3).

    In some architectures (Qwen, Gemma, Phi) peft's default scales queries instead of keys. Here
    ``kv-down`` selects keys, values and the down projection in every architecture.
    """

    target_modules: str | list[str]

    def trainable_parameters(self, model: nn.Module) -> int:
        """Return Σ d_out over the targets, with d_in instead for down projections of MLPs."""
        shapes = chosen_modules(model, self.target_modules)
        down = set(out_of_mlp(shapes))
        return sum(d_in if name in down else d_out for name, (d_in, d_out) in shapes.items())

    def check(self, model: nn.Module) -> None:
        chosen_modules(model, self.target_modules)

    def adapt(self, model: nn.Module, context: AdaptContext) -> nn.Module:
        from peft import IA3Config, TaskType

        down = out_of_mlp(chosen_modules(model, self.target_modules))
        config = IA3Config(
            task_type=TaskType.CAUSAL_LM,
            **peft_targets(model, self.target_modules),
            feedforward_modules=shortest_ends(down, [name for name, _ in model.named_modules()]),
        )
        return put_adapter(model, config, chosen_modules(model, self.target_modules))
