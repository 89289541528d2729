"""(IA)³, Liu et al. 2022, arXiv:2205.05638: rescales keys, values and the MLP's activations."""

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
    """l ⊙ (Wx), with l ones at the start. For layers that lead out of an MLP, W(l ⊙ x) (§3.3).

    peft's own choice of layers rescales queries instead of keys in some architectures (Qwen, Gemma,
    Phi); here ``kv-down`` means keys, values and the layer out of the MLP in all of them.
    """

    target_modules: str | list[str]

    def trainable_parameters(self, model: nn.Module) -> int:
        """Return Σ d_out over the targets, or d_in for those that lead out of an MLP."""
        shapes = chosen_modules(model, self.target_modules)
        down = set(out_of_mlp(shapes))
        return sum(d_in if name in down else d_out for name, (d_in, d_out) in shapes.items())

    def check(self, model: nn.Module) -> None:
        chosen_modules(model, self.target_modules)

    def adapt(self, model: nn.Module, plan: AdaptContext) -> nn.Module:
        from peft import IA3Config, TaskType

        down = out_of_mlp(chosen_modules(model, self.target_modules))
        config = IA3Config(
            task_type=TaskType.CAUSAL_LM,
            **peft_targets(model, self.target_modules),
            feedforward_modules=shortest_ends(down, [name for name, _ in model.named_modules()]),
        )
        return put_adapter(model, config, chosen_modules(model, self.target_modules))
