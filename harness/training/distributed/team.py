"""Processes that train one trial together, one device each: exchange of signals and sums.

Every rank holds the whole model (but see ``sharding``) and takes the same steps. The sequences of a
step are divided among the ranks.
Gradients are summed, not averaged. The loss of a micro-batch is divided by the labels of the whole
step (``criterion.mean_nll``), so a plain sum equals the gradient of a single process, with any method
and over frozen or quantized weights. (DistributedDataParallel averages each rank's own batch, needs a
wrapper around the model, and does not know the number of labels.)

Rank 0 leads: it alone writes, evaluates and reads the driver's answers. Ranks exchange signals in
``agree``. Only there can a rank announce that it stops, so that no rank waits for one that has exited.
Dropout draws from torch's own generator and differs by rank. All other randomness is seeded by names
(seed, step, sequence) and does not depend on the number of ranks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import is_out_of_memory

if TYPE_CHECKING:
    from torch import Tensor, nn


class RankSignal(IntEnum):
    """Signals that ranks exchange between steps; the greatest value decides for all."""

    GO = 0
    KNOWN = 1  # this stage was trained before
    SAVE = 2  # a checkpoint is due
    PRUNE = 3
    STOP = 4  # checkpoint and end the run
    SMALLER = 5  # the step did not fit
    LEFT = 6  # rank 0 ended the trial
    NO_MEMORY = 7  # another rank ran out of memory in work that cannot be divided
    FAILED = 8  # another rank failed


class SynchronizedExit(Exception):
    """Raised by all ranks at the same point, so that no rank needs to be notified."""


class OutOfMemory(SynchronizedExit):
    """Not even one example at a time fits, or memory ran out in work that cannot be divided."""


class LeaderExit(SynchronizedExit):
    """Rank 0 ended the trial."""


class TeamBroken(SynchronizedExit):
    """A rank failed or exited: this process cannot continue without it."""


class NoRoom(TeamBroken):
    """This rank ran out of memory while the others wait for it in a collective operation."""


@dataclass(frozen=True)
class Team:
    """One rank of a team. With a size of 1 every operation is local."""

    rank: int = 0
    size: int = 1
    hand_over: Callable[[Path], None] = lambda folder: None  # rank 0: starts it on the others
    shards: bool = False  # each holds a part of the model while it trains: see sharding.py

    @property
    def leads(self) -> bool:
        return self.rank == 0

    @contextmanager
    def together(self, folder: Path) -> Iterator[None]:
        """Context for the task in ``folder`` in which ranks exchange signals; an exit is announced."""
        self.hand_over(folder)
        try:
            yield
        except SynchronizedExit:
            raise
        except BaseException as error:
            memory = isinstance(error, RuntimeError | MemoryError) and is_out_of_memory(error)
            self._meet(
                RankSignal.LEFT
                if self.leads
                else RankSignal.NO_MEMORY
                if memory
                else RankSignal.FAILED
            )
            raise

    def agree(self, say: RankSignal = RankSignal.GO) -> RankSignal:
        """Exchange signals and return the greatest.

        Raises LeaderExit, OutOfMemory or TeamBroken if a rank has exited.
        """
        said = self._meet(say)
        if said is RankSignal.LEFT:
            raise LeaderExit
        if said is RankSignal.NO_MEMORY:
            raise OutOfMemory("out of memory on another device of the trial")
        if said is RankSignal.FAILED:
            raise TeamBroken("another process of the trial failed")
        return said

    def _meet(self, say: RankSignal) -> RankSignal:
        if self.size == 1:
            return say
        import torch

        found = torch.tensor(int(say))
        self._reduce([found], "MAX")
        return RankSignal(int(found))

    def share(self, indices: Sequence[int], lengths: np.ndarray) -> list[int]:
        """Return this rank's part of a step's sequences: every ``size``-th, the longest first."""
        order = sorted(indices, key=lambda index: (-lengths[index], index))
        return order[self.rank :: self.size]

    def sums(self, values: Sequence[float]) -> list[float]:
        """Return ``values`` summed over ranks."""
        if self.size == 1:
            return list(values)
        import torch

        summed = torch.tensor(values, dtype=torch.float64)
        self._reduce([summed], "SUM")
        return summed.tolist()

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Sum gradients over ranks, exact up to the order of summation.

        A parameter without a gradient on any rank keeps none.
        """
        if self.size == 1:
            return
        import torch

        present = torch.tensor([p.grad is not None for p in parameters], dtype=torch.int64)
        self._reduce([present], "MAX")
        used = [p for p, is_used in zip(parameters, present.tolist(), strict=True) if is_used]
        for parameter in used:
            if parameter.grad is None:  # its sequences did not need it, or it had none
                parameter.grad = torch.zeros_like(parameter)
        with torch.no_grad():
            self._reduce([_dense(parameter) for parameter in used], "SUM")

    def make_equal(self, model: nn.Module) -> None:
        """Copy rank 0's trained parameters and buffers (masks) to all ranks.

        A method may choose parameters by gradients, which other hardware rounds differently. Raises
        SynchronizedExit if shapes differ.
        """
        if self.size == 1:
            return
        import torch

        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        named += list(model.named_buffers())
        shapes = repr([(name, tuple(tensor.shape)) for name, tensor in named])
        number = int.from_bytes(hashlib.sha256(shapes.encode()).digest()[:7], "little")
        both = torch.tensor([number, -number])
        self._reduce([both], "MAX")
        if both.tolist() != [number, -number]:
            raise SynchronizedExit("the devices of the trial chose different parameters to train")
        with torch.no_grad():
            for _, tensor in named:
                plain = tensor.detach().contiguous()
                self._broadcast(plain.reshape(-1).view(torch.uint8))
                if plain.data_ptr() != tensor.data_ptr():
                    tensor.copy_(plain)

    def draw(self, seed: int, step: int) -> None:
        """Seed the dropout of this step.

        Rank 0 keeps its generator's state. The others are seeded by the step alone, so that checkpoints
        need none of their state.
        """
        if self.leads:
            return
        import torch

        state = np.random.SeedSequence((seed, 17, self.rank, step)).generate_state(1, np.uint64)
        torch.manual_seed(int(state[0] >> np.uint64(1)))

    def _reduce(self, tensors: Iterable[Tensor], how: str) -> None:
        from torch import distributed

        operation = getattr(distributed.ReduceOp, how)
        try:
            waiting = [distributed.all_reduce(t, operation, async_op=True) for t in tensors]
            for work in waiting:
                assert work is not None
                work.wait()
        except RuntimeError as error:  # the connection to a rank that exited
            raise TeamBroken(str(error)) from error

    def _broadcast(self, tensor: Tensor) -> None:
        from torch import distributed

        try:
            distributed.broadcast(tensor, 0)
        except RuntimeError as error:
            raise TeamBroken(str(error)) from error


def _dense(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    parameter.grad = parameter.grad.contiguous()
    return parameter.grad


ALONE = Team()
