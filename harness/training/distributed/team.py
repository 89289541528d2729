"""Group of processes that train one trial, one device each: signals and sums between them.

Every rank holds the whole model (except with ``sharding``) and takes the same steps. The sequences
of a step are divided among the ranks.

Gradients are summed, not averaged. The loss of a micro-batch is divided by the number of labels of
the whole step (``criterion.mean_nll``). The sum therefore equals the gradient of a single process,
for any method and with frozen or quantized weights. (DistributedDataParallel averages gradients,
wraps the model, and does not know the number of labels.)

Rank 0 leads: it alone writes files, evaluates and receives the driver's decisions. Ranks exchange
signals in ``agree``. A rank can announce an exit only there, so that no rank waits for one that has
exited.

Dropout uses torch's global generator and differs by rank. All other random draws are seeded by
seed, step and sequence, and do not depend on the number of ranks.
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
    """Signals that ranks exchange between steps. The greatest value applies to all."""

    GO = 0
    KNOWN = 1  # the result of this stage is in the cache
    SAVE = 2  # a checkpoint is due
    PRUNE = 3
    STOP = 4  # checkpoint and end the run
    SMALLER = 5  # out of memory: repeat the step with a smaller micro-batch
    LEFT = 6  # rank 0 ended the trial
    NO_MEMORY = 7  # another rank ran out of memory in work that cannot be divided
    FAILED = 8  # another rank failed


class SynchronizedExit(Exception):
    """Base of exceptions that all ranks raise at the same point, so that none must be notified."""


class OutOfMemory(SynchronizedExit):
    """A single example does not fit, or memory ran out in work that cannot be divided."""


class LeaderExit(SynchronizedExit):
    """Rank 0 has ended the trial."""


class TeamBroken(SynchronizedExit):
    """A rank failed or exited, and this process cannot continue without it."""


class NoRoom(TeamBroken):
    """This rank ran out of memory while others wait for it in a collective operation."""


@dataclass(frozen=True)
class Team:
    """One rank of a group of processes. With size 1 every operation is local."""

    rank: int = 0
    size: int = 1
    # On rank 0: starts the task in a folder on the other ranks.
    hand_over: Callable[[Path], None] = lambda folder: None
    shards: bool = False  # each rank holds a part of the model: see sharding.py

    @property
    def leads(self) -> bool:
        """True on rank 0."""
        return self.rank == 0

    @contextmanager
    def running(self, folder: Path) -> Iterator[None]:
        """Context in which this rank runs the task in ``folder``.

        If the rank leaves it with an error, the other ranks are notified.
        """
        self.hand_over(folder)
        try:
            yield
        except SynchronizedExit:
            raise
        except BaseException as error:
            memory = isinstance(error, RuntimeError | MemoryError) and is_out_of_memory(error)
            self._exchange(
                RankSignal.LEFT
                if self.leads
                else RankSignal.NO_MEMORY
                if memory
                else RankSignal.FAILED
            )
            raise

    def agree(self, signal: RankSignal = RankSignal.GO) -> RankSignal:
        """Exchange signals with all ranks and return the greatest.

        Raises LeaderExit, OutOfMemory or TeamBroken if a rank has announced its exit.
        """
        greatest = self._exchange(signal)
        if greatest is RankSignal.LEFT:
            raise LeaderExit
        if greatest is RankSignal.NO_MEMORY:
            raise OutOfMemory("out of memory on another device of the trial")
        if greatest is RankSignal.FAILED:
            raise TeamBroken("another process of the trial failed")
        return greatest

    def _exchange(self, signal: RankSignal) -> RankSignal:
        """Return the greatest signal of all ranks."""
        if self.size == 1:
            return signal
        import torch

        value = torch.tensor(int(signal))
        self._reduce([value], "MAX")
        return RankSignal(int(value))

    def share(self, indices: Sequence[int], lengths: np.ndarray) -> list[int]:
        """Return this rank's sequences of a step: every ``size``-th one, longest first."""
        order = sorted(indices, key=lambda index: (-lengths[index], index))
        return order[self.rank :: self.size]

    def sums(self, values: Sequence[float]) -> list[float]:
        """Return each of ``values`` summed over ranks."""
        if self.size == 1:
            return list(values)
        import torch

        summed = torch.tensor(values, dtype=torch.float64)
        self._reduce([summed], "SUM")
        return summed.tolist()

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Sum gradients over ranks, exact up to the order of summation.

        A parameter that has no gradient on any rank keeps none.
        """
        if self.size == 1:
            return
        import torch

        present = torch.tensor([p.grad is not None for p in parameters], dtype=torch.int64)
        self._reduce([present], "MAX")
        used = [p for p, is_used in zip(parameters, present.tolist(), strict=True) if is_used]
        for parameter in used:
            if parameter.grad is None:  # unused by this rank's sequences, or it had none
                parameter.grad = torch.zeros_like(parameter)
        with torch.no_grad():
            self._reduce([_dense(parameter) for parameter in used], "SUM")

    def make_equal(self, model: nn.Module) -> None:
        """Copy rank 0's trained parameters and buffers (masks) to all ranks.

        Needed because different hardware rounds differently the gradients by which a method selects
        parameters. Raises SynchronizedExit if shapes differ.
        """
        if self.size == 1:
            return
        import torch

        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        named += list(model.named_buffers())
        shapes = repr([(name, tuple(tensor.shape)) for name, tensor in named])
        number = int.from_bytes(hashlib.sha256(shapes.encode()).digest()[:7], "little")
        hash_pair = torch.tensor([number, -number])
        self._reduce([hash_pair], "MAX")
        if hash_pair.tolist() != [number, -number]:
            raise SynchronizedExit("the devices of the trial chose different parameters to train")
        with torch.no_grad():
            for _, tensor in named:
                plain = tensor.detach().contiguous()
                self._broadcast(plain.reshape(-1).view(torch.uint8))
                if plain.data_ptr() != tensor.data_ptr():
                    tensor.copy_(plain)

    def draw(self, seed: int, step: int) -> None:
        """Seed the dropout of a step.

        Rank 0 keeps the state of its generator. Other ranks are seeded by the step alone, so that
        checkpoints need no state of theirs.
        """
        if self.leads:
            return
        import torch

        state = np.random.SeedSequence((seed, 17, self.rank, step)).generate_state(1, np.uint64)
        torch.manual_seed(int(state[0] >> np.uint64(1)))

    def _reduce(self, tensors: Iterable[Tensor], operation_name: str) -> None:
        """Reduce ``tensors`` in place over ranks by 'SUM' or 'MAX'."""
        from torch import distributed

        operation = getattr(distributed.ReduceOp, operation_name)
        try:
            pending = [distributed.all_reduce(t, operation, async_op=True) for t in tensors]
            for work in pending:
                assert work is not None
                work.wait()
        except RuntimeError as error:  # connection lost to a rank that exited
            raise TeamBroken(str(error)) from error

    def _broadcast(self, tensor: Tensor) -> None:
        """Copy ``tensor`` from rank 0 to all ranks, in place."""
        from torch import distributed

        try:
            distributed.broadcast(tensor, 0)
        except RuntimeError as error:
            raise TeamBroken(str(error)) from error


def _dense(parameter: nn.Parameter) -> Tensor:
    """Return the gradient of ``parameter``, made contiguous in place."""
    assert parameter.grad is not None
    parameter.grad = parameter.grad.contiguous()
    return parameter.grad


ALONE = Team()
