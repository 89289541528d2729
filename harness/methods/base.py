"""Interface of a method: it makes a base model trainable and hooks into every training step."""

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
    """Run settings from which a method derives its own numbers.

    AdaLoRA, for example, computes its schedule from ``total_steps``. The user does not have to type
    the number twice.
    """

    total_steps: int  # optimizer steps of the run
    steps_per_epoch: int
    tokenizer: PreTrainedTokenizerBase
    train: Encoded  # tokenized training sequences
    seed: int  # of the run
    device: str = "cpu"

    def calibration(self, n_sequences: int, batch_size: int) -> Iterator[Batch]:
        """Yield batches of randomly drawn training sequences, on ``device``.

        Draws ``n_sequences`` without replacement, or all if there are fewer. The draw depends only
        on ``seed``.
        """
        import numpy as np

        from harness.data.tokens.batches import collate

        order = np.random.default_rng((self.seed, 7)).permutation(len(self.train))[:n_sequences]
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size].tolist()
            yield collate(self.train, chosen, pad_id=0).to(self.device)


@dataclass(frozen=True)
class Method:
    """Base class of all methods. Subclasses are frozen dataclasses of the user's settings.

    Only ``adapt`` is required. A method holds no state of a run: such state belongs to the model.
    State other than parameters enters checkpoints through ``state``.
    """

    size_field: ClassVar[str | None] = None  # name of the field that ``matched`` sets

    @property
    def base_quantization(self) -> Quantization | None:
        """Quantization that the base must have; None to use the one configured for the model."""
        return None

    @property
    def trains_base_weights(self) -> bool:
        """True if the base's own weights change. Quantized weights cannot be trained."""
        return False

    @property
    def trains_in_base_dtype(self) -> bool:
        """True if gradients of trained parameters have the dtype of the base's weights."""
        return self.trains_base_weights

    @property
    def allows_gradient_checkpointing(self) -> bool:
        """True if activations can be recomputed in the backward pass."""
        return True

    @property
    def packs(self) -> bool:
        """True if trials of it can be trained together on one base (``launcher.pack``)."""
        return False

    @property
    def allows_freezing(self) -> bool:
        """True if a part of the trained parameters can be frozen (``training.freeze_layers``)."""
        return True

    @property
    def starts_at_base(self) -> bool:
        """True if the adapted model equals the base before the first step."""
        return True

    @property
    def cannot_shard(self) -> str | None:
        """Reason why trained parameters cannot be sharded (``launcher.sharding``); None if they can.

        Sharding has two requirements. Each trained parameter is used only by the module that owns
        it. Only forward passes, backward passes and the optimizer access it.
        """
        return None

    @property
    def cannot_merge(self) -> str | None:
        """Reason why the tuned model cannot be merged into a plain base model; None if it can."""
        return None

    def merged(self, model: nn.Module) -> nn.Module:
        """Merge the adapter into the base's weights and return the plain model.

        ``model`` is changed and must not be used afterwards. Its base must be in full precision,
        because rounding to 4 bits would lose the adapter. An adapter trained on a 4-bit base is
        saved and loaded onto a full-precision base first.
        """
        assert self.cannot_merge is None
        wrapper: Any = model  # peft's wrapper forwards merge_and_unload to its tuner
        return wrapper.merge_and_unload() if hasattr(model, "merge_and_unload") else model

    def save(self, model: nn.Module, folder: Path) -> None:
        """Save the trained weights as safetensors in ``folder``.

        Saves the adapter if there is one, else the whole model.
        """
        from harness.models.views import as_peft
        from harness.models.weights.master_weights import save_whole

        if hasattr(model, "peft_config"):
            as_peft(model).save_pretrained(str(folder))
        else:
            save_whole(model, model.state_dict(), folder)

    def load(self, model: nn.Module, folder: Path) -> nn.Module:
        """Load from ``folder`` what ``save`` wrote, onto an untouched base ``model``, for inference.

        Changes ``model`` and returns it. An adapter is put around it, in any precision of the base.
        If the whole model was trained, its weights are replaced.
        """
        if (folder / "adapter_config.json").exists():
            from harness.methods.with_peft import load_adapter

            return load_adapter(model, folder)
        # from_pretrained handles sharded files, tied weights and renamed parameters.
        import torch

        from harness.models.weights.master_weights import as_computed

        saved = type(model).from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
        current = model.state_dict()
        model.load_state_dict(
            {name: as_computed(t, current[name].dtype) for name, t in saved.state_dict().items()}
        )
        return model

    def matched(self, model: nn.Module, trainable_parameters: int) -> Method:
        """Return this method at the largest size with at most ``trainable_parameters`` parameters.

        Used by ``method.match.trainable_parameters``. Raises InputError if no size is possible.
        """
        raise InputError(
            f"method.match.trainable_parameters cannot be used with {type(self).__name__}: it has "
            "no "
            "size to choose."
        )

    def check(self, model: nn.Module) -> None:
        """Raise InputError for settings that do not suit ``model``.

        ``model`` may be a skeleton without weights.
        """

    def check_length(self, model: nn.Module, longest: int) -> None:
        """Raise InputError if texts of ``longest`` tokens leave no room for virtual tokens.

        ``harness.models.checks.positions`` has already checked the texts alone.
        """

    def first_stage(self, training: TrainingConfig, total_steps: int) -> FirstStage | None:
        """Return a training stage that precedes the task, such as ULMFiT's language modelling, or None.

        ``total_steps`` is the number of optimizer steps on the task.
        """
        return None

    def adapt(self, model: nn.Module, context: AdaptContext) -> nn.Module:
        """Return the model to train, with ``requires_grad`` set on exactly the trained parameters.

        May change ``model``. Raises InputError if the loaded model does not suit the settings.
        """
        raise NotImplementedError

    def parameter_groups(
        self, model: nn.Module, learning_rate: float, context: AdaptContext
    ) -> list[dict[str, Any]]:
        """Return optimizer groups ``{"params": [...], "lr": ...}``.

        The schedule multiplies the rate of each group.
        """
        return [{"params": trainable(model), "lr": learning_rate}]

    def before_step(self, model: nn.Module, step: int, context: AdaptContext) -> None:
        """Run before the forward pass of optimizer step ``step`` (from 0).

        May depend only on ``step``, so that a resumed run repeats it.
        """

    def heaviest_step(self, context: AdaptContext) -> int:
        """Return the step (from 0) that needs the most memory. The plan of a sweep measures it."""
        return 0

    def comparable_from(self, model: nn.Module, context: AdaptContext) -> int:
        """Return the first step at which validation scores are comparable. No trial is pruned earlier.

        Above 0 for a method whose initial phase does not predict its final quality.
        """
        return 0

    def penalty(self, model: nn.Module) -> Tensor | None:
        """Return a scalar to add to the training loss, or None. Evaluation does not include it."""
        return None

    def after_step(self, model: nn.Module, step: int) -> None:
        """Run after ``optimizer.step()`` of step ``step`` (from 0), while gradients still exist."""

    def state(self, model: nn.Module) -> dict[str, Any]:
        """Return the state that a checkpoint needs in addition to the trained parameters.

        Values are tensors, numbers, and lists or dicts of them.
        """
        return {}

    def load_state(self, model: nn.Module, state: dict[str, Any]) -> None:
        """Restore what ``state`` returned. The trained parameters have already been restored."""

    def describe(self, model: nn.Module) -> dict[str, Any]:
        """Return facts about the tuned ``model`` for the record, as plain numbers by name."""
        return {}


@dataclass(frozen=True)
class FirstStage:
    """Language modelling on all tokens of the task's texts, before training on the task."""

    method: Method  # trains all weights of the base
    training: TrainingConfig  # settings of this stage; ``max_steps`` is set


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of ``model`` that require gradients."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
