"""OFT, Qiu et al. 2023, arXiv:2306.07280: orthogonal rotations that preserve angles between neurons."""

from __future__ import annotations

import math
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
class OFT(Method):
    """Rotate weights, W = R·W₀ with R block-diagonal and orthogonal (Eq. 4).

    R = (I + Q)(I − Q)⁻¹ with skew-symmetric Q = 0 at the start. peft rotates the input of a layer,
    in blocks of ``block_size``. The inverse is a Neumann series of ``neumann_terms`` terms (OFTv2,
    arXiv:2506.19847), or exact if that is null.
    """

    block_size: int
    block_share: bool  # one rotation for all blocks of a layer
    neumann_terms: int | None
    module_dropout: float
    target_modules: str | list[str]

    size_field: ClassVar[str | None] = "block_size"

    def __post_init__(self) -> None:
        require(self.block_size >= 2, "method.block_size", self.block_size, "at least 2")
        terms = self.neumann_terms
        require(terms is None or terms >= 1, "method.neumann_terms", terms, "null or at least 1")
        dropout = self.module_dropout
        require(0 <= dropout < 1, "method.module_dropout", dropout, "in [0, 1)")

    def trainable_parameters(self, model: nn.Module) -> int:
        """Return Σ b(b−1)/2 over the d_in/b blocks of each target, or one block if shared."""
        b = self.block_size
        shapes = chosen_modules(model, self.target_modules).values()
        return sum((1 if self.block_share else d_in // b) * b * (b - 1) // 2 for d_in, _ in shapes)

    def matched(self, model: nn.Module, trainable_parameters: int) -> OFT:
        def count(size: int) -> int:
            return replace(self, block_size=size).trainable_parameters(model)

        sizes = self._block_sizes(model)
        size = largest_within(trainable_parameters, sizes, count, "method.block_size")
        return replace(self, block_size=size)

    def check(self, model: nn.Module) -> None:
        refuse_conv1d(model, chosen_modules(model, self.target_modules), "OFT")
        sizes = self._block_sizes(model)
        listed = ", ".join(map(str, sizes))
        require(
            self.block_size in sizes,
            "method.block_size",
            self.block_size,
            f"one that divides the inputs of all targets: {listed}",
        )

    def _block_sizes(self, model: nn.Module) -> list[int]:
        """Return the block sizes that divide the input width of every target."""
        common = math.gcd(
            *(d_in for d_in, _ in chosen_modules(model, self.target_modules).values())
        )
        return [size for size in range(2, common + 1) if common % size == 0]

    def adapt(self, model: nn.Module, context: AdaptContext) -> nn.Module:
        from peft import OFTConfig, TaskType

        config = OFTConfig(
            task_type=TaskType.CAUSAL_LM,
            r=0,
            oft_block_size=self.block_size,
            block_share=self.block_share,
            module_dropout=self.module_dropout,
            use_cayley_neumann=self.neumann_terms is not None,
            num_cayley_neumann_terms=self.neumann_terms or 1,
            target_modules=resolve_targets(model, self.target_modules),
        )
        return put_adapter(model, config, chosen_modules(model, self.target_modules))
