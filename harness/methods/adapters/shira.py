"""SHiRA, Bhardwaj et al. 2024, arXiv:2406.13175: a sparse random part of each weight is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from harness.config.strict import require
from harness.methods.base import AdaptContext, Method
from harness.methods.sizing import largest_within
from harness.methods.targets import chosen_modules, refuse_conv1d, resolve_targets
from harness.methods.with_peft import put_adapter

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class SHiRA(Method):
    """Add a sparse matrix to each weight, W = W₀ + S, with S = 0 at the start.

    S is trained at r·(d_in + d_out) positions drawn by the run's seed (SHiRA-Rand, §3.1). LoRA of
    rank r trains the same number. This is the random baseline for methods that select positions.
    """

    r: int
    target_modules: str | list[str]

    size_field: ClassVar[str | None] = "r"

    def __post_init__(self) -> None:
        require(self.r >= 1, "method.r", self.r, "an integer of at least 1")

    def trainable_parameters(self, model: nn.Module) -> int:
        """Return Σ r·(d_in + d_out) over the targets."""
        shapes = chosen_modules(model, self.target_modules).values()
        return sum(self.r * (d_in + d_out) for d_in, d_out in shapes)

    def matched(self, model: nn.Module, trainable_parameters: int) -> SHiRA:
        def count(r: int) -> int:
            return replace(self, r=r).trainable_parameters(model)

        most = self._densest(model)
        ranks = range(1, most + 1)
        return replace(self, r=largest_within(trainable_parameters, ranks, count, "method.r"))

    def _densest(self, model: nn.Module) -> int:
        """Return the largest r at which every matrix has at least r·(d_in + d_out) entries."""
        shapes = chosen_modules(model, self.target_modules).values()
        return min(d_in * d_out // (d_in + d_out) for d_in, d_out in shapes)

    def check(self, model: nn.Module) -> None:
        refuse_conv1d(model, chosen_modules(model, self.target_modules), "SHiRA")
        most = self._densest(model)
        require(self.r <= most, "method.r", self.r, f"at most {most}, which fills a whole target")

    def adapt(self, model: nn.Module, context: AdaptContext) -> nn.Module:
        import torch
        from peft import ShiraConfig, TaskType

        # Positions are drawn without repeats. Disabling torch's check also silences its warning.
        torch.sparse.check_sparse_tensor_invariants.disable()
        config = ShiraConfig(
            task_type=TaskType.CAUSAL_LM,
            r=self.r,
            mask_type="random",
            random_seed=context.seed,
            target_modules=resolve_targets(model, self.target_modules),
        )
        return put_adapter(model, config, chosen_modules(model, self.target_modules))
