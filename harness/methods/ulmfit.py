"""ULMFiT, Howard & Ruder 2018, arXiv:1801.06146: thaw from the top, lower layers learn slower."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.methods.base import AdaptPlan, Method
from harness.strict import require

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class ULMFiT(Method):
    """Gradual unfreezing (§3.3) and discriminative fine-tuning (§3.2) of all parameters.

    Layer groups from top to bottom: the head with the final norm and the last block, the other
    blocks one each, the embeddings. Tied input and output embeddings count as embeddings. The third
    part, slanted triangular rates, is ``training.schedule=stlr``.
    """

    gradual_unfreezing: bool
    unfreeze_every_steps: int | None
    discriminative_factor: float

    def __post_init__(self) -> None:
        every, factor = self.unfreeze_every_steps, self.discriminative_factor
        require(
            every is None or every >= 1,
            "method.unfreeze_every_steps",
            every,
            "null or at least 1",
        )
        require(factor >= 1, "method.discriminative_factor", factor, "at least 1 (1: one rate)")

    @property
    def trains_base_weights(self) -> bool:
        return True

    def adapt(self, model: nn.Module, plan: AdaptPlan) -> nn.Module:
        return model.requires_grad_(True)

    def parameter_groups(
        self, model: nn.Module, learning_rate: float, plan: AdaptPlan
    ) -> list[dict[str, Any]]:
        """η^{l−1} = η^l / factor, from the top group down."""
        rates = discriminative_rates(
            learning_rate, self.discriminative_factor, len(groups := layer_groups(model))
        )
        return [{"params": group, "lr": rate} for group, rate in zip(groups, rates, strict=True)]

    def before_step(self, model: nn.Module, step: int, plan: AdaptPlan) -> None:
        if not self.gradual_unfreezing:
            return
        groups = layer_groups(model)
        every = self.unfreeze_every_steps or default_interval(plan, len(groups))
        thawed = groups_trained(step, every, len(groups))
        for depth, group in enumerate(groups):
            for parameter in group:
                parameter.requires_grad_(depth < thawed)


def discriminative_rates(learning_rate: float, factor: float, n_groups: int) -> list[float]:
    """Rates from the top group to the bottom one."""
    return [learning_rate / factor**depth for depth in range(n_groups)]


def default_interval(plan: AdaptPlan, n_groups: int) -> int:
    """One epoch a group as in the paper, but all groups thawed by the middle of a short run."""
    return max(1, min(plan.steps_per_epoch, plan.total_steps // (2 * n_groups)))


def groups_trained(step: int, every: int, n_groups: int) -> int:
    """How many groups, counted from the top, are trained in optimizer step ``step`` (from 0)."""
    return min(n_groups, 1 + step // every)


def concat_pool(hidden: Tensor, mask: Tensor) -> Tensor:
    """h_c = [h_T, maxpool(H), meanpool(H)] (§3.3): what a classifier on top of the model sees.

    ``hidden`` (batch, length, d) and ``mask`` (batch, length), 1 where there is text, at least once
    in each row; padding may be on either side. Returns (batch, 3·d).
    """
    import torch

    real = mask.bool()
    places = torch.arange(hidden.shape[1], device=hidden.device)
    last = (real * places).argmax(dim=1)
    at_end = hidden[torch.arange(len(hidden), device=hidden.device), last]
    highest = hidden.masked_fill(~real[..., None], float("-inf")).amax(dim=1)
    mean = (hidden * real[..., None]).sum(dim=1) / real.sum(dim=1, keepdim=True)
    return torch.cat([at_end, highest, mean], dim=-1)


def layer_groups(model: nn.Module) -> list[list[nn.Parameter]]:
    """All parameters by depth, top first; each once.

    A block is what lies under a numbered module of the longest such list (``layers.3``, ``h.3``):
    parameters before the first numbered one are embeddings, those after the last one the head.
    """
    named = list(model.named_parameters())  # in the order of definition, tied ones once
    numbered = [re.match(r"(.*?\.)(\d+)\.", name) for name, _ in named]
    blocks = sorted({int(match.group(2)) for match in numbered if match})
    bottom: list[nn.Parameter] = []
    by_block: dict[int, list[nn.Parameter]] = {block: [] for block in blocks}
    top: list[nn.Parameter] = []
    seen_block = False
    for (_, parameter), match in zip(named, numbered, strict=True):
        if match:
            by_block[int(match.group(2))].append(parameter)
            seen_block = True
        else:
            (top if seen_block else bottom).append(parameter)
    if not blocks:
        return [top + bottom]
    first, *others = [by_block[block] for block in reversed(blocks)]
    groups = [top + first, *others]
    return [*groups, bottom] if bottom else groups
