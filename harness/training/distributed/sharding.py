"""Sharding of a model over the ranks of a trial during training (``launcher.sharding=fsdp``).

Uses torch's FSDP2, ``fully_shard`` (Zhao et al. 2023, arXiv:2304.11277). Each rank stores a part of
every weight, gradient and optimizer state. The weights of a block are gathered for its forward and
backward pass, and its gradients are summed during the backward pass.

FSDP wraps a copy of the model's modules with the same parameters. The plain model has no weights
during training. Rank 0 gathers them for each evaluation, and all ranks at the end. So the full
weights must fit on one device for loading and evaluation. Gradients and optimizer states are never
gathered on a device.

A checkpoint equals that of a single process. Its tensors are gathered one at a time in the CPU
memory of rank 0.
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
from harness.errors import first_line, is_out_of_memory
from harness.models.pass_cost import forward_tokens
from harness.models.quantization import CLASS_HEAD
from harness.models.weights.master_weights import computes_in
from harness.training.distributed.team import NoRoom, SynchronizedExit, Team, TeamBroken

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor, nn


def wrap_for_training(model: nn.Module, team: Team, device: str) -> UnshardedModel:
    """Wrap a model for training by ``team``, sharded if ``team.shards``.

    Raises SynchronizedExit on all ranks if they selected different parameters to train.
    """
    team.agree()  # all ranks have reached this point
    team.make_equal(model)
    return Sharded(model, team, device) if team.shards else UnshardedModel(model, team)


class UnshardedModel:
    """Full model on every rank. Gradients are summed after the last backward pass of a step."""

    def __init__(self, model: nn.Module, team: Team) -> None:
        self.model = model  # used for forward and backward passes
        self.team = team
        self.forward_tokens = forward_tokens(model)

    @contextmanager
    def step(self) -> Iterator[None]:
        """Context for changes of gradients and parameters in a step."""
        yield

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Context in which the plain model has its weights on rank 0. All ranks must enter it."""
        yield

    def passes(self, indices: Sequence[int], lengths: np.ndarray, largest: int) -> Passes:
        """Return this rank's sequences of a step in micro-batches of at most ``largest``."""
        groups = self.micro_batches(self.team, indices, lengths, largest)
        return Passes(groups, len(groups))

    def micro_batches(
        self, rank: Team, indices: Sequence[int], lengths: np.ndarray, largest: int
    ) -> list[list[int]]:
        """Return the micro-batches of a ``rank``'s share of a step."""
        return micro_batches(rank.share(indices, lengths), lengths, largest, self.forward_tokens)

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Sum gradients over ranks."""
        self.team.sum_gradients(parameters)

    def clip(
        self, accelerator: Accelerator, parameters: Sequence[nn.Parameter], max_norm: float
    ) -> float:
        """Clip the gradients to a joint norm of ``max_norm`` and return the norm before clipping."""
        norm = accelerator.clip_grad_norm_(list(parameters), max_norm)
        assert norm is not None, "None only with DeepSpeed"
        return float(norm)

    def state(
        self, trained: dict[str, nn.Parameter], optimizer: Any
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return trained parameters by name and optimizer state, as of a single process.

        All ranks must call it. The result is complete on rank 0.
        """
        return {name: p.detach() for name, p in trained.items()}, optimizer.state_dict()

    def local_part(self, tensor: Tensor, parameter: nn.Parameter) -> Tensor:
        """Return this rank's part of ``tensor``, which has the shape of ``parameter``."""
        return tensor

    def unwrap(self) -> None:
        """End training. The plain model then has its weights on all ranks."""


@dataclass(frozen=True)
class Passes:
    """Micro-batches of one rank in a step, as sequence indices."""

    groups: list[list[int]]
    n_real: int  # the rest has weight 0: all ranks must run the same number of passes


class Sharded(UnshardedModel):
    """Sharded model: each tensor is split along its first dimension into one part per rank."""

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

        The other ranks then wait in a collective operation and cannot be notified.
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
    def gathered(self) -> Iterator[None]:
        self._fill(self.team.leads)
        yield
        self._empty()

    def passes(self, indices: Sequence[int], lengths: np.ndarray, largest: int) -> Passes:
        """Return the same number on each rank, padded with the shortest sequence of the step."""
        ranks = [Team(rank, self.team.size) for rank in range(self.team.size)]
        groups = [self.micro_batches(rank, indices, lengths, largest) for rank in ranks]
        own, n = groups[self.team.rank], max(map(len, groups))
        shortest = min(indices, key=lambda index: (lengths[index], index))
        return Passes(own + [[shortest]] * (n - len(own)), len(own))

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Do nothing: backward passes have already summed the gradients."""

    def clip(
        self, accelerator: Accelerator, parameters: Sequence[nn.Parameter], max_norm: float
    ) -> float:
        from torch.nn import utils

        gradients = [p.grad for p in parameters if p.grad is not None]
        norm = _full_tensor(utils.get_total_norm(gradients))
        utils.clip_grads_with_norm_(parameters, max_norm, norm)
        return float(norm)

    def state(
        self, trained: dict[str, nn.Parameter], optimizer: Any
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        self.team.agree()
        with self.step():
            tensors = {name: self._on_rank_0(p.detach()) for name, p in trained.items()}
            packed = optimizer.state_dict()
            moments = {
                index: {key: self._on_rank_0(value) for key, value in parameter_state.items()}
                for index, parameter_state in packed["state"].items()
            }
        return tensors, {**packed, "state": moments}

    def local_part(self, tensor: Tensor, parameter: nn.Parameter) -> Tensor:
        from torch.distributed.tensor import DTensor

        assert isinstance(parameter, DTensor)
        pieces = tensor.to(parameter.device).chunk(self.team.size)  # can be fewer than ranks
        own = pieces[self.team.rank] if self.team.rank < len(pieces) else pieces[0][:0]
        assert own.shape == parameter.to_local().shape
        layout = {"shape": tensor.shape, "stride": tensor.stride(), "run_check": False}
        return DTensor.from_local(
            own.clone(), parameter.device_mesh, parameter.placements, **layout
        )  # a view would keep the full tensor in memory

    def unwrap(self) -> None:
        self._fill(True)
        self._pairs.clear()
        self.model.zero_grad(set_to_none=True)
        del self.model
        gc.collect()  # modules form reference cycles that hold parameters

    def _fill(self, on_this_rank: bool) -> None:
        """Gather the weights into the plain model, on the ranks that pass True."""
        self.team.agree()
        with self.step():
            for parameter, part in self._pairs:
                tensor = _full_tensor(part.detach())
                if on_this_rank:
                    parameter.data = tensor

    def _empty(self) -> None:
        """Remove the weights from the plain model."""
        for parameter, _ in self._pairs:
            parameter.data = parameter.data.new_empty(0)

    def _on_rank_0(self, value: Any) -> Any:
        """Gather ``value`` as a full tensor in the CPU memory of rank 0. Other ranks get None."""
        import torch

        if not isinstance(value, torch.Tensor):
            return value
        tensor = _full_tensor(value)
        return tensor.cpu() if self.team.leads else None


def _full_tensor(tensor: Tensor) -> Tensor:
    """Return the full tensor of a sharded one, and any other tensor unchanged."""
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _same_parameters(model: nn.Module) -> nn.Module:
    """Copy the modules of ``model``, sharing its parameters and buffers."""
    tensors = chain(model.parameters(), model.buffers())
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})


def _shard(model: nn.Module, size: int, device: str) -> None:
    """Shard each block separately and the rest together. Gradients are summed, not averaged."""
    import torch
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

    mesh = DeviceMesh(device.split(":")[0], list(range(size)))
    head = getattr(model, CLASS_HEAD, None)  # runs after the model, possibly in another dtype
    for module in [*_blocks(model), *([] if head is None else [head]), model]:
        dtype = next(filter(None, map(computes_in, module.parameters())), None)
        # float32 weights are gathered in the compute dtype and their gradients reduced in float32.
        dtypes = {"param_dtype": dtype, "reduce_dtype": torch.float32} if dtype else {}
        policy = MixedPrecisionPolicy(**dtypes, cast_forward_inputs=False)
        fully_shard(module, mesh=mesh, mp_policy=policy)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


def _blocks(model: nn.Module) -> list[nn.Module]:
    """Return the layers of the module list with the most parameters."""
    from torch import nn

    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    count: Callable[[nn.Module], int] = lambda m: sum(p.numel() for p in m.parameters())  # noqa: E731
    return list(max(lists, key=count)) if lists else []
