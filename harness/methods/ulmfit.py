"""ULMFiT, Howard & Ruder 2018, arXiv:1801.06146: thaw from the top, lower layers learn slower."""

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
CHAIN_THAW_BELOW = 0.1  # §5: what lies below the last layer learns at a tenth of its rate


@dataclass(frozen=True)
class ULMFiT(Method):
    """Language-model fine-tuning, then the task with gradual unfreezing (§3.1 to §3.3).

    First, where ``lm_steps`` is not 0, all of the base on the texts of the task (§3.2); then the
    task, with layers thawed as ``unfreezing`` says and lower ones at lower rates.

    Rates and thawing go by groups of layers. From top to bottom: the classifier, where there is one;
    the blocks in ``block_groups`` groups, the output layer and the final norm with the topmost; the
    embeddings, with tied output ones. The paper's model has three blocks: with a group for each block
    the rates of 28 would span 2.6^27, and half of the layers would learn nothing. In four groups the
    blocks' rates span 2.6^3 at any depth, and a model of up to four blocks has a group for each.
    Slanted triangular rates are ``training.schedule=stlr``.
    """

    unfreezing: Unfreezing
    unfreeze_every_steps: int | None
    discriminative_factor: float  # from one group to the next
    block_groups: int | None  # that the trained blocks are divided into; None: one for each block
    layer_groups: int | None  # trained layers of the base, from the top: blocks, then embeddings
    lm_steps: int | None
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
            f"unfreezing={self.unfreezing} changes what is trained on the way; "
            "method.unfreezing=full or last is what works"
        )

    @property
    def allows_freezing(self) -> bool:
        """It decides at every step what is frozen."""
        return False

    def matched(self, model: nn.Module, trainable_parameters: int) -> Self:
        """The top layers that have at most so many parameters together."""
        sums = list(accumulate(sum(p.numel() for p in group) for group in layer_groups(model)))
        n = largest_within(
            trainable_parameters,
            range(1, len(sums) + 1),
            lambda n: sums[n - 1],
            "method.layer_groups",
        )
        return replace(self, layer_groups=n)

    def check(self, model: nn.Module) -> None:
        known = len(layer_groups(model))
        n = self.layer_groups
        require(
            n is None or n <= known,
            "method.layer_groups",
            n,
            f"null or at most {known}, which this model has",
        )

    def first_stage(self, training: TrainingConfig, total_steps: int) -> FirstStage | None:
        """Language-model fine-tuning (§3.2): all layers from the first step on, rates of its own."""
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

    def adapt(self, model: nn.Module, plan: AdaptContext) -> nn.Module:
        model.requires_grad_(False)
        n = self.layer_groups
        if self.unfreezing == "last":  # of a classifier, what is put on top
            n = 0 if plan.train.classes is not None else 1
        for group in layer_groups(model)[:n]:
            for parameter in group:
                parameter.requires_grad_(True)
        return model

    def _trained(self, model: nn.Module) -> list[list[nn.Parameter]]:
        """The groups that are trained at some time, from the top."""
        if self.unfreezing == "last":
            return layer_groups(model)[:1]
        return layers_of(model).top(self.layer_groups, self.block_groups)

    def parameter_groups(
        self, model: nn.Module, learning_rate: float, plan: AdaptContext
    ) -> list[dict[str, Any]]:
        """η^{l−1} = η^l / factor, from the top group down; with chain-thaw a tenth below the top."""
        groups = self._trained(model)
        rates = discriminative_rates(learning_rate, self.discriminative_factor, len(groups))
        if self.unfreezing == "chain_thaw":
            rates = [rate * (CHAIN_THAW_BELOW if depth else 1) for depth, rate in enumerate(rates)]
        return [{"params": group, "lr": rate} for group, rate in zip(groups, rates, strict=True)]

    def comparable_from(self, model: nn.Module, plan: AdaptContext) -> int:
        """Steps before the first one that trains all groups at once."""
        if self.unfreezing not in ("gradual", "chain_thaw"):
            return 0
        n = len(self._trained(model))
        return self._interval(plan, n) * (n - (self.unfreezing == "gradual"))

    def heaviest_step(self, plan: AdaptContext) -> int:
        """The last: by then all groups are trained."""
        return plan.total_steps - 1 if self.unfreezing in ("gradual", "chain_thaw") else 0

    def _interval(self, plan: AdaptContext, n_groups: int) -> int:
        return self.unfreeze_every_steps or default_interval(plan, n_groups)

    def before_step(self, model: nn.Module, step: int, plan: AdaptContext) -> None:
        if self.unfreezing not in ("gradual", "chain_thaw"):
            return
        groups = self._trained(model)
        every = self._interval(plan, len(groups))
        trained_in = gradually if self.unfreezing == "gradual" else chain_thawed
        thawed = trained_in(step // every, len(groups))
        for depth, group in enumerate(groups):
            for parameter in group:
                parameter.requires_grad_(depth in thawed)


def discriminative_rates(learning_rate: float, factor: float, n_groups: int) -> list[float]:
    """Rates from the top group to the bottom one."""
    return [learning_rate / factor**depth for depth in range(n_groups)]


def default_interval(plan: AdaptContext, n_groups: int) -> int:
    """One epoch a group as in the paper, but all groups thawed by the middle of a short run."""
    return max(1, min(plan.steps_per_epoch, plan.total_steps // (2 * n_groups)))


def gradually(phase: int, n_groups: int) -> range:
    """Return the groups trained in phase 0, 1, ...: one more in each, 0 being the top one (§3.3)."""
    return range(min(n_groups, 1 + phase))


def chain_thawed(phase: int, n_groups: int) -> range:
    """The top one, then each of the others alone from the bottom up, then all (arXiv:1708.00524)."""
    if phase >= n_groups:
        return range(n_groups)
    alone = (n_groups - phase) % n_groups
    return range(alone, alone + 1)
