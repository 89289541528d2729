"""ULMFiT, Howard & Ruder 2018, arXiv:1801.06146: gradual unfreezing, lower rates in lower layers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from harness.config.strict import require
from harness.config.training import Schedule
from harness.methods.base import AdaptContext, FirstStage, Method
from harness.methods.layers import layer_groups, layers_of
from harness.methods.sizing import largest_within

if TYPE_CHECKING:
    from torch import nn

    from harness.config import TrainingConfig

__all__ = ["ULMFiT", "layer_groups"]

Unfreezing = Literal["gradual", "chain_thaw", "last", "full"]
CHAIN_THAW_BELOW = 0.1  # §5: factor on the rates of all groups but the top one


@dataclass(frozen=True)
class ULMFiT(Method):
    """Language-model fine-tuning, then the task with gradual unfreezing (§3.1 to §3.3).

    Unless ``lm_steps`` is 0, all of the base is first trained on the texts of the task (§3.2).
    Training on the task then unfreezes layers as ``unfreezing`` specifies, with lower rates in
    lower layers.

    Rates and unfreezing apply to groups of layers. From top to bottom these are the classifier (if
    any), the blocks in ``block_groups`` groups, and the embeddings. Output layer and final norm
    belong to the top block, a tied output layer to the embeddings.

    The paper's model has three blocks. With one group for each block, the rates of 28 blocks would
    span a factor of 2.6^27, and half of the layers would learn nothing. In four groups they span
    2.6^3 at any depth.

    The paper's slanted triangular schedule is ``training.schedule=stlr``.
    """

    unfreezing: Unfreezing
    unfreeze_every_steps: int | None
    discriminative_factor: float  # ratio of the rates of adjacent groups
    block_groups: int | None  # None: one group for each block
    layer_groups: int | None  # trained layers of the base, from the top; None: all
    lm_steps: int | None  # None: as many as the task has
    lm_learning_rate: float
    lm_discriminative_factor: float
    lm_schedule: Schedule

    size_field: ClassVar[str | None] = "layer_groups"

    def __post_init__(self) -> None:
        every, factor = self.unfreeze_every_steps, self.discriminative_factor
        require(
            every is None or every >= 1,
            "method.unfreeze_every_steps",
            every,
            "null or at least 1",
        )
        require(factor >= 1, "method.discriminative_factor", factor, "at least 1 (1: one rate)")
        factor, rate = self.lm_discriminative_factor, self.lm_learning_rate
        require(factor >= 1, "method.lm_discriminative_factor", factor, "at least 1 (1: one rate)")
        require(rate > 0, "method.lm_learning_rate", rate, "above 0")
        steps = self.lm_steps
        require(steps is None or steps >= 0, "method.lm_steps", steps, "null or at least 0")
        for field in ("block_groups", "layer_groups"):
            n = getattr(self, field)
            require(n is None or n >= 1, f"method.{field}", n, "null or at least 1")

    @property
    def trains_base_weights(self) -> bool:
        return True

    @property
    def cannot_shard(self) -> str | None:
        if self.unfreezing in ("last", "full"):
            return None
        return (
            f"unfreezing={self.unfreezing} changes the trained parameters during the run; "
            "method.unfreezing=full or last can be sharded"
        )

    @property
    def allows_freezing(self) -> bool:
        """False: the method itself sets the frozen parameters before every step."""
        return False

    def matched(self, model: nn.Module, trainable_parameters: int) -> Self:
        """Return the method with the most top layers that fit ``trainable_parameters``."""
        sums = list(accumulate(sum(p.numel() for p in group) for group in layer_groups(model)))
        n = largest_within(
            trainable_parameters,
            range(1, len(sums) + 1),
            lambda n: sums[n - 1],
            "method.layer_groups",
        )
        return replace(self, layer_groups=n)

    def check(self, model: nn.Module) -> None:
        n_model_layers = len(layer_groups(model))
        n = self.layer_groups
        require(
            n is None or n <= n_model_layers,
            "method.layer_groups",
            n,
            f"null or at most {n_model_layers}, which this model has",
        )

    def first_stage(self, training: TrainingConfig, total_steps: int) -> FirstStage | None:
        """Return language-model fine-tuning (§3.2), or None if ``lm_steps`` is 0.

        It trains all layers from its first step, with its own learning rates.
        """
        steps = total_steps if self.lm_steps is None else self.lm_steps
        if steps == 0:
            return None
        everything = replace(
            self,
            unfreezing="full",
            layer_groups=None,
            discriminative_factor=self.lm_discriminative_factor,
        )
        changes = {"learning_rate": self.lm_learning_rate, "schedule": self.lm_schedule}
        return FirstStage(everything, replace(training, max_steps=steps, epochs=None, **changes))

    def adapt(self, model: nn.Module, context: AdaptContext) -> nn.Module:
        model.requires_grad_(False)
        n = self.layer_groups
        if self.unfreezing == "last":  # a classifier trains its added output layer
            n = 0 if context.train.classes is not None else 1
        for group in layer_groups(model)[:n]:
            for parameter in group:
                parameter.requires_grad_(True)
        return model

    def _trained(self, model: nn.Module) -> list[list[nn.Parameter]]:
        """Return the groups that are trained at any time, top first."""
        if self.unfreezing == "last":
            return layer_groups(model)[:1]
        return layers_of(model).top(self.layer_groups, self.block_groups)

    def parameter_groups(
        self, model: nn.Module, learning_rate: float, context: AdaptContext
    ) -> list[dict[str, Any]]:
        """Return optimizer groups with discriminative rates, η^{l−1} = η^l / factor (§3.1).

        Chain-thaw multiplies the rates below the top group by ``CHAIN_THAW_BELOW``.
        """
        groups = self._trained(model)
        rates = discriminative_rates(learning_rate, self.discriminative_factor, len(groups))
        if self.unfreezing == "chain_thaw":
            rates = [rate * (CHAIN_THAW_BELOW if depth else 1) for depth, rate in enumerate(rates)]
        return [{"params": group, "lr": rate} for group, rate in zip(groups, rates, strict=True)]

    def comparable_from(self, model: nn.Module, context: AdaptContext) -> int:
        """Return the first step that trains all groups at once."""
        if self.unfreezing not in ("gradual", "chain_thaw"):
            return 0
        n = len(self._trained(model))
        return self._interval(context, n) * (n - (self.unfreezing == "gradual"))

    def heaviest_step(self, context: AdaptContext) -> int:
        """Return the last step if layers are unfrozen during the run: it trains all groups."""
        return context.total_steps - 1 if self.unfreezing in ("gradual", "chain_thaw") else 0

    def _interval(self, context: AdaptContext, n_groups: int) -> int:
        """Return the number of steps between two changes of the trained groups."""
        return self.unfreeze_every_steps or default_interval(context, n_groups)

    def before_step(self, model: nn.Module, step: int, context: AdaptContext) -> None:
        if self.unfreezing not in ("gradual", "chain_thaw"):
            return
        groups = self._trained(model)
        interval = self._interval(context, len(groups))
        trained_in = gradually if self.unfreezing == "gradual" else chain_thawed
        thawed = trained_in(step // interval, len(groups))
        for depth, group in enumerate(groups):
            for parameter in group:
                parameter.requires_grad_(depth in thawed)


def discriminative_rates(learning_rate: float, factor: float, n_groups: int) -> list[float]:
    """Return the learning rates of the groups, top first: each ``factor`` below the previous."""
    return [learning_rate / factor**depth for depth in range(n_groups)]


def default_interval(context: AdaptContext, n_groups: int) -> int:
    """Return the number of steps in which each group is trained before the next is added.

    One epoch as in the paper (§3.3). Fewer steps in a short run, so that all groups are trained by
    its middle.
    """
    return max(1, min(context.steps_per_epoch, context.total_steps // (2 * n_groups)))


def gradually(phase: int, n_groups: int) -> range:
    """Return the groups trained in ``phase`` (from 0): the top one and one more per phase (§3.3)."""
    return range(min(n_groups, 1 + phase))


def chain_thawed(phase: int, n_groups: int) -> range:
    """Return the groups trained in ``phase`` (from 0) of chain-thaw, arXiv:1708.00524.

    First the top group alone, then each other group alone from the bottom up, then all.
    """
    if phase >= n_groups:
        return range(n_groups)
    alone = (n_groups - phase) % n_groups
    return range(alone, alone + 1)
