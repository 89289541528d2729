"""Models sharded over the ranks of a team during training (``launcher.sharding=fsdp``), or unsharded.

torch's FSDP2, ``fully_shard`` (Zhao et al. 2023, arXiv:2304.11277): each rank holds its part of every
weight, gradient and optimizer state. A block's weights are gathered for its forward and backward
pass, and its gradients are summed as they arise. FSDP wraps a copy of the model's modules with the
same parameters. The model itself stays plain and has no weights meanwhile. It gets them back on rank 0
for each evaluation, and on all ranks at the end. So a model must fit one device whole to be loaded and
evaluated; gradients and optimizer states are never whole on one device.
A checkpoint equals that of one process: its tensors are gathered one by one into rank 0's memory.
"""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.data.tokens.batches import micro_batches
from harness.errors import is_out_of_memory
from harness.models.precision import computes_in
from harness.models.quantization import CLASS_HEAD
from harness.training.distributed.team import NoRoom, SynchronizedExit, Team, TeamBroken
from harness.training.memory import first_line

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor, nn


def wrap_for_training(model: nn.Module, team: Team, device: str) -> UnshardedModel:
    """Wrap a model for training. Fails on all ranks if they chose different parameters to train."""
    team.agree()  # all ranks have reached this point
    team.make_equal(model)
    return Sharded(model, team, device) if team.shards else UnshardedModel(model, team)


class UnshardedModel:
    """The full model on every rank. Gradients are summed after the last backward pass of a step."""

    def __init__(self, model: nn.Module, team: Team) -> None:
        self.model = model  # what forward and backward passes run through
        self.team = team

    @contextmanager
    def step(self) -> Iterator[None]:
        """Context in which a step changes gradients and parameters."""
        yield

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Context in which the plain model has its weights, on rank 0. All ranks enter it together."""
        yield

    def passes(self, indices: Sequence[int], lengths: np.ndarray, most: int) -> Passes:
        """Return this rank's part of a step's sequences, in micro-batches of at most ``most``."""
        groups = micro_batches(self.team.share(indices, lengths), lengths, most)
        return Passes(groups, len(groups))

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        self.team.sum_gradients(parameters)

    def clip(
        self, accelerator: Accelerator, parameters: Sequence[nn.Parameter], most: float
    ) -> float:
        """Scale the gradients down to a joint norm of ``most`` and return the norm before that."""
        norm = accelerator.clip_grad_norm_(list(parameters), most)
        assert norm is not None, "only DeepSpeed keeps it to itself"
        return float(norm)

    def state(
        self, trained: dict[str, nn.Parameter], optimizer: Any
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return both as one process would have them, on rank 0. All ranks call it together."""
        return {name: p.detach() for name, p in trained.items()}, optimizer.state_dict()

    def part(self, tensor: Tensor, parameter: nn.Parameter) -> Tensor:
        """Return this rank's part of ``tensor``, which has the shape of ``parameter``."""
        return tensor

    def end(self) -> None:
        """Finish training: the model is plain and has its weights on all ranks."""


@dataclass(frozen=True)
class Passes:
    """Micro-batches of one rank."""

    groups: list[list[int]]
    n_real: int  # later ones have no weight: all ranks must run equally many passes


class Sharded(UnshardedModel):
    """A sharded model: each tensor is split along dim 0 into as many pieces as there are ranks."""

    def __init__(self, model: nn.Module, team: Team, device: str) -> None:
        model.zero_grad(set_to_none=True)
        super().__init__(_same_parameters(model), team)
        _shard(self.model, team.size, device)
        parts = dict(self.model.named_parameters())
        self._pairs = [(parameter, parts[name]) for name, parameter in model.named_parameters()]
        self._empty()

    @contextmanager
    def step(self) -> Iterator[None]:
        """Context of a step. Raises NoRoom or TeamBroken for any error.

        The other ranks wait in a collective operation then, where they cannot be notified.
        """
        try:
            yield
        except SynchronizedExit:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise NoRoom(first_line(error)) from error
            raise TeamBroken(f"{type(error).__name__}: {first_line(error)}") from error

    @contextmanager
    def whole(self) -> Iterator[None]:
        self._fill(self.team.leads)
        yield
        self._empty()

    def passes(self, indices: Sequence[int], lengths: np.ndarray, most: int) -> Passes:
        """Return equally many for each rank, filled up with the shortest sequence of the step."""
        ranks = [Team(rank, self.team.size) for rank in range(self.team.size)]
        groups = [micro_batches(rank.share(indices, lengths), lengths, most) for rank in ranks]
        own, n = groups[self.team.rank], max(map(len, groups))
        shortest = min(indices, key=lambda index: (lengths[index], index))
        return Passes(own + [[shortest]] * (n - len(own)), len(own))

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Do nothing: the backward passes sum gradients."""

    def clip(
        self, accelerator: Accelerator, parameters: Sequence[nn.Parameter], most: float
    ) -> float:
        from torch.nn import utils

        gradients = [p.grad for p in parameters if p.grad is not None]
        norm = _gathered(utils.get_total_norm(gradients))
        utils.clip_grads_with_norm_(parameters, most, norm)
        return float(norm)

    def state(
        self, trained: dict[str, nn.Parameter], optimizer: Any
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        self.team.agree()
        with self.step():
            tensors = {name: self._on_first(p.detach()) for name, p in trained.items()}
            packed = optimizer.state_dict()
            moments = {
                index: {key: self._on_first(value) for key, value in of_one.items()}
                for index, of_one in packed["state"].items()
            }
        return tensors, {**packed, "state": moments}

    def part(self, tensor: Tensor, parameter: nn.Parameter) -> Tensor:
        from torch.distributed.tensor import DTensor

        assert isinstance(parameter, DTensor)
        pieces = tensor.to(parameter.device).chunk(self.team.size)  # there may be fewer than ranks
        mine = pieces[self.team.rank] if self.team.rank < len(pieces) else pieces[0][:0]
        assert mine.shape == parameter.to_local().shape
        about = {"shape": tensor.shape, "stride": tensor.stride(), "run_check": False}
        return DTensor.from_local(
            mine.clone(), parameter.device_mesh, parameter.placements, **about
        )  # a view would keep it whole

    def end(self) -> None:
        self._fill(True)
        self._pairs.clear()
        self.model.zero_grad(set_to_none=True)
        del self.model
        gc.collect()  # modules form reference cycles, each with its part

    def _fill(self, here: bool) -> None:
        self.team.agree()
        with self.step():
            for parameter, part in self._pairs:
                tensor = _gathered(part.detach())
                if here:
                    parameter.data = tensor

    def _empty(self) -> None:
        for parameter, _ in self._pairs:
            parameter.data = parameter.data.new_empty(0)

    def _on_first(self, value: Any) -> Any:
        """Gather ``value`` on rank 0 as a whole tensor in memory; the other ranks get nothing."""
        import torch

        if not isinstance(value, torch.Tensor):
            return value
        tensor = _gathered(value)
        return tensor.cpu() if self.team.leads else None


def _gathered(tensor: Tensor) -> Tensor:
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _same_parameters(model: nn.Module) -> nn.Module:
    """Copy the modules of ``model`` around the same parameters and buffers."""
    tensors = chain(model.parameters(), model.buffers())
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})


def _shard(model: nn.Module, size: int, device: str) -> None:
    """Shard each block separately, and the rest together; gradients are summed, not averaged."""
    import torch
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

    mesh = DeviceMesh(device.split(":")[0], list(range(size)))
    head = getattr(model, CLASS_HEAD, None)  # runs after the model, maybe in another dtype
    for module in [*_blocks(model), *([] if head is None else [head]), model]:
        dtype = next(filter(None, map(computes_in, module.parameters())), None)
        # Held in float32 they are gathered as they compute; gradients come back in float32.
        rounded = {"param_dtype": dtype, "reduce_dtype": torch.float32} if dtype else {}
        policy = MixedPrecisionPolicy(**rounded, cast_forward_inputs=False)
        fully_shard(module, mesh=mesh, mp_policy=policy)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


def _blocks(model: nn.Module) -> list[nn.Module]:
    """Return the layers of the module list that holds most of the model."""
    from torch import nn

    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    count: Callable[[nn.Module], int] = lambda m: sum(p.numel() for p in m.parameters())  # noqa: E731
    return list(max(lists, key=count)) if lists else []
