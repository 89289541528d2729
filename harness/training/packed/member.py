"""A member of a pack: one run with its own adapter, settings, random numbers and files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from harness.config import TrainingConfig
from harness.methods.base import AdaptContext, Method
from harness.methods.low_rank.plain_lora import adapted_layers, factors, is_plain_lora
from harness.training import schedules
from harness.training.augmentation import Augmentation
from harness.training.checkpoint import CheckpointFolder
from harness.training.criterion import Criterion
from harness.training.distributed.sharding import UnshardedModel
from harness.training.distributed.team import ALONE
from harness.training.hooks import Hooks
from harness.training.optimizers import build_optimizer
from harness.training.packed.layers import NotPackable
from harness.training.packed.settings import cannot_pack
from harness.training.packed.stack import Stack
from harness.training.parameters import with_own_rates
from harness.training.resume import Progress, Saver, random_state, set_random_state

if TYPE_CHECKING:
    from torch import Tensor


class Member:
    """One run of a pack. Afterwards ``progress`` and ``error`` are its outcome.

    Created directly after its method has adapted the base, as ``train`` would be called. It takes
    its layers off the base again, so that the next member can be created. Raises NotPackable.
    """

    def __init__(
        self,
        base: nn.Module,
        model: nn.Module,  # peft's wrapper around ``base``
        method: Method,
        context: AdaptContext,
        config: TrainingConfig,
        seed: int,
        criterion: Criterion,
        checkpoints: CheckpointFolder,
        hooks: Hooks,
        progress: Progress | None = None,
    ) -> None:
        if method.trains_base_weights or not _only_adapts(method):
            raise NotPackable("its method changes the base, or takes part in every step")
        if getattr(base, "is_loaded_in_8bit", False):
            # LLM.int8() treats a column apart if any row of the batch has an outlier in it.
            raise NotPackable("a base in int8 rounds a text by the others in its batch")
        setting = cannot_pack(config)
        if setting is not None or not criterion.is_plain:
            raise NotPackable(setting or "its loss has more terms than that of its texts")
        if checkpoints.load() is not None:
            raise NotPackable("it has a checkpoint, from which it goes on alone")
        self.base, self.model, self.method, self.context = base, model, method, context
        self.config, self.hooks, self.criterion = config, hooks, criterion
        self.device = context.device
        self.progress = Progress() if progress is None else progress
        self.progress.micro_batch_size = config.batch_size
        self.error: Exception | None = None  # ended this member's training
        self.augmentation = Augmentation(config, seed, context.tokenizer)
        self.layers = adapted_layers(base)
        if not all(map(is_plain_lora, self.layers.values())):
            raise NotPackable("it has other adapters than plain LoRA of linear layers")
        self.parameters = [p for layer in self.layers.values() for p in factors(layer)]
        if any(parameter.dtype != torch.float32 for parameter in self.parameters):
            raise NotPackable("its adapter is not float32")
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if {id(p) for p in trained.values()} - {id(p) for p in self.parameters}:
            raise NotPackable("it trains more than the factors A and B of linear layers")
        groups = method.parameter_groups(model, config.learning_rate, context)
        groups = with_own_rates(groups, config.learning_rate_of, model)
        peak = {id(p): group["lr"] for group in groups for p in group["params"]}
        self._peak_rates = [float(peak.get(id(p), 0.0)) for p in self.parameters]
        # Holds the state in the form of a checkpoint, from which the run can be continued alone.
        self._optimizer = build_optimizer(config, groups, self.device.split(":")[0])[0]
        self._random = random_state(self.device)
        self._stack: tuple[Stack, int] | None = None  # where the weights are in training
        self.saver = Saver(
            checkpoints=checkpoints,
            wrapped=_StackedModel(model, self._fill),
            trained=trained,
            optimizer=self._optimizer,
            method=method,
            progress=self.progress,
            device=self.device,
            before=hooks.on_checkpoint,
            every=config.checkpoint_every,
            total_steps=context.total_steps,
        )
        self._peft_config = getattr(base, "peft_config", None)
        self._put_on(base_layers=True)

    def rates(self, step: int) -> list[float]:
        """Return the learning rate of each tensor in step ``step`` (from 0); 0 for a frozen one."""
        scale = schedules.factor(self.config, step, self.context.total_steps)
        return [rate * scale for rate in self._peak_rates]

    def weights_are_in(self, stack: Stack, k: int) -> None:
        """Set where the present weights are: row ``k`` of ``stack``."""
        self._stack = stack, k

    def copy_weights(self) -> None:
        """Copy the present weights to this member's own parameters."""
        assert self._stack is not None
        stack, k = self._stack
        for parameter, weight in zip(self.parameters, stack.weights(k), strict=True):
            parameter.data.copy_(weight)

    def take_weights(self) -> None:
        """Copy the present weights and forget the stack, which others go on to use."""
        self.copy_weights()
        self._stack = None

    def _fill(self) -> None:
        """Copy weights and AdamW's state to where a checkpoint is written from."""
        self.copy_weights()
        assert self._stack is not None
        stack, k = self._stack
        place = dict(zip(map(id, self.parameters), stack.moments(k), strict=True))
        for group in self._optimizer.param_groups:
            for parameter in group["params"]:
                mean, square = place[id(parameter)]
                self._optimizer.state[parameter] = {
                    "step": torch.tensor(float(self.progress.step)),
                    "exp_avg": mean.clone(),
                    "exp_avg_sq": square.clone(),
                }

    @contextmanager
    def own_random(self) -> Iterator[None]:
        """Context in which torch's generators are those that this member would have alone."""
        others = random_state(self.device)
        set_random_state(self._random)
        try:
            yield
        finally:
            self._random = random_state(self.device)
            set_random_state(others)

    @contextmanager
    def alone(self) -> Iterator[nn.Module]:
        """Context in which the base has this member's adapter alone; yields the adapted model."""
        self._put_on(base_layers=False)
        try:
            with self.own_random():
                yield self.model
        finally:
            self._put_on(base_layers=True)

    def _put_on(self, *, base_layers: bool) -> None:
        plain: Any = {name: layer.base_layer for name, layer in self.layers.items()}
        put_on(self.base, plain if base_layers else self.layers)
        if hasattr(self.base, "peft_config"):
            del self.base.peft_config
        if not base_layers and self._peft_config is not None:
            self.base.peft_config = self._peft_config


class _StackedModel(UnshardedModel):
    """A member's model whose weights are in the stack of its pack."""

    def __init__(self, model: nn.Module, fill: Callable[[], None]) -> None:
        super().__init__(model, ALONE)
        self._fill = fill

    def state(
        self, trained: dict[str, nn.Parameter], optimizer: Any
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        self._fill()
        return super().state(trained, optimizer)


def _only_adapts(method: Method) -> bool:
    """Return True if the method does nothing during training."""
    hooks = ("before_step", "after_step", "penalty", "state", "load_state")
    return all(getattr(type(method), name) is getattr(Method, name) for name in hooks)


def put_on(base: nn.Module, layers: dict[str, nn.Module]) -> None:
    """Replace modules of ``base`` by name."""
    for name, layer in layers.items():
        parent, _, child = name.rpartition(".")
        setattr(base.get_submodule(parent), child, layer)
