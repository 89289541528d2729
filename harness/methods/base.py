"""Interface of a method: making a base trainable, and hooks around a training step."""

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
        """Yield batches of training sequences on ``device``, drawn by ``seed``, each at most once."""
        import numpy as np

        from harness.data.tokens.batches import collate

        order = np.random.default_rng((self.seed, 7)).permutation(len(self.train))[:n_sequences]
        for at in range(0, len(order), batch_size):
            chosen = order[at : at + batch_size].tolist()
            yield collate(self.train, chosen, pad_id=0).to(self.device)


@dataclass(frozen=True)
class Method:
    """Subclasses are frozen dataclasses of a user's settings. Only ``adapt`` is required.

    A method holds no state of a run. Anything to remember lives in the model, and state that is not
    a parameter goes into checkpoints through ``state``.
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
        """Merge adapters into the base's own form and return the model; takes ``model`` apart.

        ``model`` must have weights at full precision, since 4-bit weights would round the adapter
        away. An adapter trained beside 4-bit weights is saved and first loaded onto a
        full-precision base.
        """
        assert self.cannot_merge is None
        wrapper: Any = model  # peft's passes it on to what it wraps
        return wrapper.merge_and_unload() if hasattr(model, "merge_and_unload") else model

    def save(self, model: nn.Module, folder: Path) -> None:
        """Save the trained weights as safetensors: an adapter or the whole model (``save_whole``)."""
        from harness.models.precision import save_whole
        from harness.models.views import as_peft

        if hasattr(model, "peft_config"):
            as_peft(model).save_pretrained(str(folder))
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
        """Return this method at the size that trains about ``trainable_parameters`` of ``model``.

        Used by ``method.match.trainable_parameters``. Raises InputError if there is no such size.
        """
        raise InputError(
            f"method.match.trainable_parameters cannot be used with {type(self).__name__}: it has no "
            "size to choose."
        )

    def check(self, model: nn.Module) -> None:
        """Raise InputError for settings that ``model`` cannot take.

        A skeleton without weights suffices.
        """

    def check_length(self, model: nn.Module, longest: int) -> None:
        """Raise InputError if texts of ``longest`` tokens leave no room for the method's own tokens.

        The model itself accepts the texts: see ``harness.models.checks.positions``.
        """

    def first_stage(self, training: TrainingConfig, total_steps: int) -> FirstStage | None:
        """Return the stage in which the base learns the task's own texts before the task, or None.

        ``total_steps`` are those of the task itself.
        """
        return None

    def adapt(self, model: nn.Module, plan: AdaptContext) -> nn.Module:
        """Return the model to train, with ``requires_grad`` on exactly the parameters to update.

        Raises InputError if the loaded model cannot take this configuration.
        """
        raise NotImplementedError

    def parameter_groups(
        self, model: nn.Module, learning_rate: float, plan: AdaptContext
    ) -> list[dict[str, Any]]:
        """Return optimizer groups ``{"params": [...], "lr": ...}``. The schedule scales each rate."""
        return [{"params": trainable(model), "lr": learning_rate}]

    def before_step(self, model: nn.Module, step: int, plan: AdaptContext) -> None:
        """Run before the forward pass of optimizer step ``step`` (from 0). A function of the step."""

    def heaviest_step(self, plan: AdaptContext) -> int:
        """Return the step (from 0) that needs the most memory, used to plan a sweep."""
        return 0

    def comparable_from(self, model: nn.Module, plan: AdaptContext) -> int:
        """Return the step from which a trial's curve is comparable. No trial is pruned before it.

        More than 0 if a method starts with a phase that says nothing about its final quality.
        """
        return 0

    def penalty(self, model: nn.Module) -> Tensor | None:
        """Return a scalar that is added to the training loss, but to no measurement."""
        return None

    def after_step(self, model: nn.Module, step: int) -> None:
        """Run after ``optimizer.step()`` of step ``step`` (from 0), with gradients still present."""

    def state(self, model: nn.Module) -> dict[str, Any]:
        """Return the state a checkpoint needs besides trained parameters: tensors, numbers, lists."""
        return {}

    def load_state(self, model: nn.Module, state: dict[str, Any]) -> None:
        """Restore the result of ``state``. Trained parameters are restored before."""

    def describe(self, model: nn.Module) -> dict[str, Any]:
        """Return facts about the tuned ``model`` for the record, as plain numbers by name."""
        return {}


@dataclass(frozen=True)
class FirstStage:
    """Language modelling on all tokens of the task's texts, before training on the task itself."""

    method: Method  # trains all of the base's own weights
    training: TrainingConfig  # with its ``max_steps``


def trainable(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
