"""State of a run at a step: saved to a checkpoint and restored from it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.methods.base import Method
from harness.training.checkpoint import Checkpoint, CheckpointFolder

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn


@dataclass
class Progress:
    """Progress of a run over all its attempts."""

    step: int = 0  # finished optimizer steps
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


def captured(
    tensors: dict[str, Tensor],
    optimizer: dict[str, Any],
    method: Method,
    model: nn.Module,
    progress: Progress,
    device: str,
) -> Checkpoint:
    """Return everything that the next step depends on, and the progress of the run.

    ``tensors``: the trained parameters; ``optimizer``: its state. Both are unsharded.
    """
    state = {
        "optimizer": optimizer,
        "random": random_state(device),
        "method": method.state(model),
        "progress": [progress.seconds, progress.tokens, progress.micro_batch_size],
        "warnings": progress.warnings,
    }
    return Checkpoint(progress.step, tensors, state)


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
