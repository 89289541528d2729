"""The interface of a method: how a base becomes trainable, and what happens around a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from harness.errors import InputError
from harness.models.quantization import Quantization

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

    from harness.config import TrainingConfig
    from harness.data.tokens.batches import Batch
    from harness.data.tokens.encode import Encoded


@dataclass(frozen=True)
class AdaptContext:
    """Values from which a method may derive its own numbers, so that nothing is typed twice."""

    total_steps: int  # optimizer steps of the run
    steps_per_epoch: int
    tokenizer: PreTrainedTokenizerBase
    train: Encoded  # the sequences that will be trained on
    seed: int
    device: str = "cpu"

    def calibration(self, n_sequences: int, batch_size: int) -> Iterator[Batch]:
        """Batches of training sequences on ``device``, drawn by ``seed``, each at most once."""
        import numpy as np

        from harness.data.tokens.batches import collate

        order = np.random.default_rng((self.seed, 7)).permutation(len(self.train))[:n_sequences]
        for at in range(0, len(order), batch_size):
            chosen = order[at : at + batch_size].tolist()
            yield collate(self.train, chosen, pad_id=0).to(self.device)


@dataclass(frozen=True)
class Method:
    """Subclasses are frozen dataclasses of what a user can set; ``adapt`` is all they must have.

    A method holds no state of a run: what it needs to remember lies in the model, and what is
    not a parameter there goes through ``state`` into checkpoints.
    """

    size_field: ClassVar[str | None] = None  # the field that ``matched`` chooses

    @property
    def base_quantization(self) -> Quantization | None:
        """Required storage of the base; None to follow the model's own configuration."""
        return None

    @property
    def trains_base_weights(self) -> bool:
        """True if the base's own weights change, which quantized weights cannot."""
        return False

    @property
    def trains_in_base_dtype(self) -> bool:
        """True if gradients of the trained parameters have the dtype of the base's weights."""
        return self.trains_base_weights

    @property
    def allows_gradient_checkpointing(self) -> bool:
        """True if activations can be recomputed in the backward pass."""
        return True

    @property
    def allows_freezing(self) -> bool:
        """True if any part of the trained parameters can be frozen (``training.freeze_layers``)."""
        return True

    @property
    def starts_at_base(self) -> bool:
        """True if the adapted model answers exactly like the base before the first step."""
        return True

    @property
    def cannot_shard(self) -> str | None:
        """Reason why the trained parameters cannot be sharded (``launcher.sharding``), or None.

        Sharding requires that a trained parameter is used only by the module that holds it or by
        the model as a whole. Only forward passes, backward passes and the optimizer may touch it.
        """
        return None

    @property
    def cannot_merge(self) -> str | None:
        """Reason why the tuned model cannot be merged into the base's own form; None if it can."""
        return None

    def merged(self, model: nn.Module) -> nn.Module:
        """The tuned model in the base's own form, without adapters; takes ``model`` apart.

        ``model`` is over weights at full precision: 4-bit ones would round the adapter away. What was
        trained beside those is saved, and loaded onto the base at full precision first.
        """
        assert self.cannot_merge is None
        return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model

    def save(self, model: nn.Module, folder: Path) -> None:
        """Save the trained weights as safetensors: an adapter or the whole model (``save_whole``)."""
        from harness.models.precision import save_whole

        if hasattr(model, "peft_config"):
            model.save_pretrained(folder)
        else:
            save_whole(model, model.state_dict(), folder)

    def load(self, model: nn.Module, folder: Path) -> nn.Module:
        """Load the result of ``save`` from ``folder`` onto an untouched base ``model``, for inference.

        Changes ``model``. An adapter is wrapped around it, whatever its precision. If the whole
        model was trained, its weights are replaced.
        """
        if (folder / "adapter_config.json").exists():
            from harness.methods.with_peft import load_adapter

            return load_adapter(model, folder)
        # By way of transformers, which knows shards, tied weights and how it renamed what it stored.
        import torch

        from harness.models.precision import as_computed

        whole = type(model).from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
        own = model.state_dict()
        model.load_state_dict(
            {name: as_computed(t, own[name].dtype) for name, t in whole.state_dict().items()}
        )
        return model

    def matched(self, model: nn.Module, trainable_parameters: int) -> Method:
        """This method at the size that trains about ``trainable_parameters`` of ``model``.

        ``method.match.trainable_parameters`` asks for it. Raises InputError where there is none.
        """
        raise InputError(
            f"method.match.trainable_parameters cannot be used with {type(self).__name__}: it has no "
            "size to choose."
        )

    def check(self, model: nn.Module) -> None:
        """Raises InputError for what ``model`` cannot take; a skeleton without weights will do."""

    def check_length(self, model: nn.Module, longest: int) -> None:
        """Raises InputError where texts of ``longest`` tokens leave no room for what it adds.

        That the model can take them by itself is known: see ``harness.models.checks.positions``.
        """

    def first_stage(self, training: TrainingConfig, total_steps: int) -> FirstStage | None:
        """Return the stage in which the base learns the task's own texts before the task, or None.

        ``total_steps`` are those of the task itself.
        """
        return None

    def adapt(self, model: nn.Module, plan: AdaptContext) -> nn.Module:
        """The model to train, ``requires_grad`` on exactly what it will update.

        Raises InputError where the loaded model cannot take this configuration.
        """
        raise NotImplementedError

    def parameter_groups(
        self, model: nn.Module, learning_rate: float, plan: AdaptContext
    ) -> list[dict[str, Any]]:
        """Optimizer groups ``{"params": [...], "lr": ...}``; the schedule scales every ``lr``."""
        return [{"params": trainable(model), "lr": learning_rate}]

    def before_step(self, model: nn.Module, step: int, plan: AdaptContext) -> None:
        """Before the forward pass of optimizer step ``step`` (from 0); a pure function of it."""

    def heaviest_step(self, plan: AdaptContext) -> int:
        """The step (from 0) that needs the most memory: what a sweep is planned by."""
        return 0

    def comparable_from(self, model: nn.Module, plan: AdaptContext) -> int:
        """After how many steps a trial's curve can be held against others: none is pruned before.

        More than 0 where a method begins with something else than what it is to be judged by.
        """
        return 0

    def penalty(self, model: nn.Module) -> Tensor | None:
        """A scalar added to the training loss, and to nothing that is measured."""
        return None

    def after_step(self, model: nn.Module, step: int) -> None:
        """After ``optimizer.step()`` of step ``step`` (from 0), gradients still there."""

    def state(self, model: nn.Module) -> dict[str, Any]:
        """Return the state a checkpoint needs besides trained parameters: tensors, numbers, lists."""
        return {}

    def load_state(self, model: nn.Module, state: dict[str, Any]) -> None:
        """Put back what ``state`` gave; trained parameters are back already."""

    def describe(self, model: nn.Module) -> dict[str, Any]:
        """Return facts about the tuned ``model`` for the record, as plain numbers by name."""
        return {}


@dataclass(frozen=True)
class FirstStage:
    """Language modelling on the texts of the task, every token of them, before the task itself."""

    method: Method  # trains all of the base's own weights
    training: TrainingConfig  # with its ``max_steps``


def trainable(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
