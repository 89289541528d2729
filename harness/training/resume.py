"""Saving and restoring the state of a run."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.methods.base import Method
from harness.training.checkpoint import Checkpoint, CheckpointFolder
from harness.training.distributed.team import RankSignal

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from harness.training.distributed.sharding import UnshardedModel

CHECKPOINT_SECONDS = 60.0  # minimum interval, if training.checkpoint_every is not set
LAST_SECONDS = 5.0  # least work since the last checkpoint that justifies one after the last step


@dataclass
class Progress:
    """Progress of a run over all its attempts."""

    step: int = 0  # finished optimizer steps
    evaluated: int | None = None  # last step evaluated during training
    seconds: float = 0.0  # spent in training steps, without evaluation
    tokens: int = 0  # input tokens used, without padding
    micro_batch_size: int = 0
    pruned: bool = False
    trials_in_pack: int = 1  # that trained together; ``seconds`` are this one's share
    warnings: list[str] = field(default_factory=list)


def random_state(device: str) -> dict[str, Any]:
    """Return the state of torch's global generators, which dropout uses."""
    import torch

    random = {"cpu": torch.get_rng_state()}
    if device.startswith("cuda"):
        random["cuda"] = torch.cuda.get_rng_state(device)
    return random


def set_random_state(random: dict[str, Any]) -> None:
    """Restore what ``random_state`` returned."""
    import torch

    torch.set_rng_state(random["cpu"])
    if "cuda" in random:
        torch.cuda.set_rng_state(random["cuda"])


@dataclass
class Saver:
    """Writer of the checkpoints of one run."""

    checkpoints: CheckpointFolder
    wrapped: UnshardedModel
    trained: dict[str, nn.Parameter]
    optimizer: Any
    method: Method
    progress: Progress
    device: str
    before: Callable[[], None]  # called before each checkpoint
    every: int | None  # steps between checkpoints; None: see save_if_due
    total_steps: int

    def __post_init__(self) -> None:
        self._step, self._saved_at = self.progress.step, time.monotonic()  # last checkpoint

    def save(self) -> None:
        """Write a checkpoint; after the last step without the optimizer. All ranks must call it."""
        start_time, progress = time.monotonic(), self.progress
        tensors, optimizer = self.wrapped.state(self.trained, self.optimizer)
        if progress.step == self.total_steps:
            optimizer = None  # two thirds of the bytes, which no further step needs
        if self.wrapped.team.leads:
            self.before()
            state = {
                "optimizer": optimizer,
                "random": random_state(self.device),
                "method": self.method.state(self.wrapped.model),
                "progress": [progress.seconds, progress.tokens, progress.micro_batch_size],
                "evaluated": progress.evaluated,
                "warnings": progress.warnings,
                "trials_in_pack": progress.trials_in_pack,
            }
            self.checkpoints.save(Checkpoint(progress.step, tensors, state))
        self._step, self._saved_at = progress.step, time.monotonic()
        self.checkpoints.record_duration(self._saved_at - start_time)

    def save_if_due(self, at_evaluation: bool) -> None:
        """Write a checkpoint if one is due. All ranks must call it, before each step.

        Without ``every``, one is due at an evaluation if the last is older than
        ``CHECKPOINT_SECONDS``. After the last step, one is due if the work since the last
        checkpoint took longer than writing takes.
        """
        ended, team = self.progress.step == self.total_steps, self.wrapped.team
        if self.progress.step == self._step:
            return
        if self.every and not ended:
            if self.progress.step % self.every == 0:
                self.save()
        elif at_evaluation or ended:
            least_seconds = (
                max(LAST_SECONDS, self.checkpoints.seconds) if ended else CHECKPOINT_SECONDS
            )
            due = team.leads and time.monotonic() - self._saved_at > least_seconds
            if team.agree(RankSignal.SAVE if due else RankSignal.GO) is RankSignal.SAVE:
                self.save()


def restore(
    checkpoints: CheckpointFolder,
    trained: dict[str, nn.Parameter],
    optimizer: Any,
    method: Method,
    model: nn.Module,
    progress: Progress,
    local_part: Callable[[Tensor, nn.Parameter], Tensor],
) -> None:
    """Restore the newest intact checkpoint, if there is one.

    ``local_part`` returns this rank's part of a full tensor for a parameter. A checkpoint of other
    parameters is ignored with a message on stderr.
    """
    import torch

    checkpoint = checkpoints.load()
    if checkpoint is None:
        return
    shapes = {name: parameter.shape for name, parameter in trained.items()}
    if {name: tensor.shape for name, tensor in checkpoint.tensors.items()} != shapes:
        # Gradients that select parameters are rounded differently on other hardware.
        print(
            f"{checkpoints.folder} has other trained parameters; training starts again",
            file=sys.stderr,
        )
        return
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(local_part(checkpoint.tensors[name], parameter))
    if checkpoint.state["optimizer"] is not None:  # it is after the last step
        kept = _local_state(checkpoint.state["optimizer"], optimizer, local_part)
        optimizer.load_state_dict(kept)
    method.load_state(model, checkpoint.state["method"])
    set_random_state(checkpoint.state["random"])
    progress.step = checkpoint.step
    progress.evaluated = checkpoint.state.get("evaluated", checkpoint.step)
    progress.seconds, progress.tokens, progress.micro_batch_size = checkpoint.state["progress"]
    progress.warnings = list(checkpoint.state["warnings"])
    progress.trials_in_pack = checkpoint.state.get("trials_in_pack", 1)


def _local_state(
    state: dict[str, Any], optimizer: Any, local_part: Callable[[Tensor, nn.Parameter], Tensor]
) -> dict[str, Any]:
    """Return an optimizer state with each tensor reduced to this rank's part of it."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    reduced = {
        index: {
            key: local_part(value, parameters[index])
            if getattr(value, "shape", None) == parameters[index].shape
            else value
            for key, value in parameter_state.items()
        }
        for index, parameter_state in state["state"].items()
    }
    return {**state, "state": reduced}
