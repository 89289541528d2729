"""State of a run at a step: saved to a checkpoint and restored from it."""

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

CHECKPOINT_SECONDS = 60.0  # between checkpoints, if the configuration sets no steps
LAST_SECONDS = 5.0  # of work since the last checkpoint that make one after the last step worthwhile


@dataclass
class Progress:
    """Progress of a run over all its attempts."""

    step: int = 0  # finished optimizer steps
    evaluated: int | None = None  # the last step that was evaluated on the way
    seconds: float = 0.0  # in training steps, evaluation excluded
    tokens: int = 0  # input tokens that were trained on, padding excluded
    micro_batch_size: int = 0
    pruned: bool = False
    warnings: list[str] = field(default_factory=list)


def random_state(device: str) -> dict[str, Any]:
    """Return the state of torch's generators, used by dropout; all other generators are named."""
    import torch

    random = {"cpu": torch.get_rng_state()}
    if device.startswith("cuda"):
        random["cuda"] = torch.cuda.get_rng_state(device)
    return random


def set_random_state(random: dict[str, Any]) -> None:
    import torch

    torch.set_rng_state(random["cpu"])
    if "cuda" in random:
        torch.cuda.set_rng_state(random["cuda"])


@dataclass
class Saver:
    """Writes checkpoints of one run: everything that its next step depends on, and its progress."""

    checkpoints: CheckpointFolder
    held: UnshardedModel
    trained: dict[str, nn.Parameter]
    optimizer: Any
    method: Method
    progress: Progress
    device: str
    before: Callable[[], None]  # each checkpoint
    every: int | None  # steps between checkpoints; None: see ``save_if_due``
    total_steps: int

    def __post_init__(self) -> None:
        self._step, self._at = self.progress.step, time.monotonic()  # of the last one

    def save(self) -> None:
        """Write a checkpoint. All ranks call it together."""
        began, progress = time.monotonic(), self.progress
        tensors, optimizer = self.held.state(self.trained, self.optimizer)
        if self.held.team.leads:
            self.before()
            state = {
                "optimizer": optimizer,
                "random": random_state(self.device),
                "method": self.method.state(self.held.model),
                "progress": [progress.seconds, progress.tokens, progress.micro_batch_size],
                "evaluated": progress.evaluated,
                "warnings": progress.warnings,
            }
            self.checkpoints.save(Checkpoint(progress.step, tensors, state))
        self._step, self._at = progress.step, time.monotonic()
        self.checkpoints.took(self._at - began)

    def save_if_due(self, at_evaluation: bool) -> None:
        """Write a checkpoint where one is due. All ranks call it together, before each step.

        Without ``every`` one is due at an evaluation after ``CHECKPOINT_SECONDS``. One after the last
        step is due where repeating the work since the one before would take longer than writing it.
        """
        ended, team = self.progress.step == self.total_steps, self.held.team
        if self.progress.step == self._step:
            return
        if self.every and not ended:
            if self.progress.step % self.every == 0:
                self.save()
        elif at_evaluation or ended:
            worth = max(LAST_SECONDS, self.checkpoints.seconds) if ended else CHECKPOINT_SECONDS
            due = team.leads and time.monotonic() - self._at > worth
            if team.agree(RankSignal.SAVE if due else RankSignal.GO) is RankSignal.SAVE:
                self.save()


def restore(
    checkpoints: CheckpointFolder,
    trained: dict[str, nn.Parameter],
    optimizer: Any,
    method: Method,
    model: nn.Module,
    progress: Progress,
    part: Callable[[Tensor, nn.Parameter], Tensor],
) -> None:
    """Restore the newest intact checkpoint, if there is one.

    ``part`` returns this rank's part of a whole tensor for a parameter.
    """
    import torch

    checkpoint = checkpoints.load()
    if checkpoint is None:
        return
    shapes = {name: parameter.shape for name, parameter in trained.items()}
    if {name: tensor.shape for name, tensor in checkpoint.tensors.items()} != shapes:
        # Trained parameters may be chosen by gradients, which other hardware rounds differently.
        print(f"{checkpoints.folder} is of other parameters; training begins anew", file=sys.stderr)
        return
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(part(checkpoint.tensors[name], parameter))
    optimizer.load_state_dict(_parts(checkpoint.state["optimizer"], optimizer, part))
    method.load_state(model, checkpoint.state["method"])
    set_random_state(checkpoint.state["random"])
    progress.step = checkpoint.step
    progress.evaluated = checkpoint.state.get("evaluated", checkpoint.step)
    progress.seconds, progress.tokens, progress.micro_batch_size = checkpoint.state["progress"]
    progress.warnings = list(checkpoint.state["warnings"])


def _parts(
    state: dict[str, Any], optimizer: Any, part: Callable[[Tensor, nn.Parameter], Tensor]
) -> dict[str, Any]:
    """Return an optimizer state reduced to ``part`` of each tensor of its parameter's shape."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    kept = {
        index: {
            key: part(value, parameters[index])
            if getattr(value, "shape", None) == parameters[index].shape
            else value
            for key, value in of_one.items()
        }
        for index, of_one in state["state"].items()
    }
    return {**state, "state": kept}
