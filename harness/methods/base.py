"""The interface of a method: how a base becomes trainable, and what happens around a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class AdaptPlan:
    """What a method may derive its own numbers from, so that nothing is typed twice."""

    total_steps: int  # optimizer steps of the run
    steps_per_epoch: int
    tokenizer: PreTrainedTokenizerBase


@dataclass(frozen=True)
class Quantization:
    """How the base's weights are stored while a method trains beside them."""

    kind: str  # nf4, fp4 or int8
    double: bool


@dataclass(frozen=True)
class Method:
    """Subclasses are frozen dataclasses of what a user can set; ``adapt`` is all they must have.

    A method holds no state of a run: what it needs to remember lies in the model, and what is
    not a parameter there goes through ``state`` into checkpoints.
    """

    @property
    def base_quantization(self) -> Quantization | None:
        """How the base must be loaded; None: as the model's own configuration says."""
        return None

    @property
    def trains_base_weights(self) -> bool:
        """Whether the base's own weights change, which quantized ones cannot."""
        return False

    def check(self, model: nn.Module) -> None:
        """Raises InputError for what ``model`` cannot take; a skeleton without weights will do."""

    def adapt(self, model: nn.Module, plan: AdaptPlan) -> nn.Module:
        """The model to train, ``requires_grad`` on exactly what it will update.

        Raises InputError where the loaded model cannot take this configuration.
        """
        raise NotImplementedError

    def parameter_groups(
        self, model: nn.Module, learning_rate: float, plan: AdaptPlan
    ) -> list[dict[str, Any]]:
        """Optimizer groups ``{"params": [...], "lr": ...}``; the schedule scales every ``lr``."""
        return [{"params": trainable(model), "lr": learning_rate}]

    def before_step(self, model: nn.Module, step: int, plan: AdaptPlan) -> None:
        """Before the forward pass of optimizer step ``step`` (from 0); a pure function of it."""

    def penalty(self, model: nn.Module) -> Tensor | None:
        """A scalar added to the training loss, and to nothing that is measured."""
        return None

    def after_step(self, model: nn.Module, step: int) -> None:
        """After ``optimizer.step()`` of step ``step`` (from 0), gradients still there."""

    def state(self, model: nn.Module) -> dict[str, Any]:
        """What a checkpoint must hold besides trained parameters: tensors, numbers and lists."""
        return {}

    def load_state(self, model: nn.Module, state: dict[str, Any]) -> None:
        """Put back what ``state`` gave."""


def trainable(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
