"""VeRA, Kopiczko et al. 2023, arXiv:2310.11454: shared frozen random factors, learned scales."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from harness.config.strict import require
from harness.methods.base import AdaptContext, Method
from harness.methods.sizing import largest_within
from harness.methods.targets import chosen_modules, peft_targets
from harness.methods.with_peft import put_adapter

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class VeRA(Method):
    """Train h = W₀x + Λ_b·B·Λ_d·A·x (Eq. 2).

    A and B are random, frozen and shared by all layers. The vectors b (0 at the start) and d are
    trained.
    """

    r: int
    d_initial: float
    vera_dropout: float
    target_modules: str | list[str]

    size_field: ClassVar[str | None] = "r"

    def __post_init__(self) -> None:
        require(self.r >= 1, "method.r", self.r, "an integer of at least 1")
        require(self.d_initial != 0, "method.d_initial", self.d_initial, "other than 0")
        require(0 <= self.vera_dropout < 1, "method.vera_dropout", self.vera_dropout, "in [0, 1)")

    def trainable_parameters(self, model: nn.Module) -> int:
        """Return Σ (d_out + r) over the targets (§3.2)."""
        shapes = chosen_modules(model, self.target_modules).values()
        return sum(d_out + self.r for _, d_out in shapes)

    def matched(self, model: nn.Module, trainable_parameters: int) -> VeRA:
        def count(r: int) -> int:
            return replace(self, r=r).trainable_parameters(model)

        ranks = range(
            1, trainable_parameters + 2
        )  # the shared factors may have a rank above any layer's width
        return replace(self, r=largest_within(trainable_parameters, ranks, count, "method.r"))

    def check(self, model: nn.Module) -> None:
        chosen_modules(model, self.target_modules)

    def adapt(self, model: nn.Module, context: AdaptContext) -> nn.Module:
        from peft import TaskType, VeraConfig

        config = VeraConfig(
            task_type=TaskType.CAUSAL_LM,
            r=self.r,
            **peft_targets(model, self.target_modules),
            projection_prng_key=context.seed,
            save_projection=True,  # torch versions may draw other random numbers
            vera_dropout=self.vera_dropout,
            d_initial=self.d_initial,
        )
        return put_adapter(model, config, chosen_modules(model, self.target_modules))
