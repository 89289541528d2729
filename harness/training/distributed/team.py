"""The processes that train one trial together, a device each: what they agree on and what they sum.

Every rank holds the whole model (but see ``sharding``) and takes the same steps; of a step's
sequences each has its share.
Gradients are summed, not averaged: the loss of a micro-batch is divided by the labels of the whole
step (``criterion.mean_nll``), so that a plain sum is the gradient that one process would have, with
any method and over frozen or quantized weights. (DistributedDataParallel averages what each rank has
for its own batch, wants a wrapper around the model, and knows nothing of labels.)

Rank 0 leads: it alone writes, evaluates and hears the driver. Ranks meet in ``agree``, and only
there can one tell the others that it goes another way, so that none waits for one that has left.
What is drawn by torch's own generator, dropout that is, differs by rank; all else is drawn by names
(seed, step, sequence), and is the same however many ranks there are.
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
    """What a rank has to say where all meet; the greatest counts for all."""

    GO = 0
    KNOWN = 1  # this stage was trained before
    SAVE = 2  # a checkpoint is due
    PRUNE = 3
    STOP = 4  # checkpoint and end the run
    SMALLER = 5  # the step did not fit
    LEFT = 6  # rank 0 is done with the trial, for reasons of its own
    NO_MEMORY = 7  # another rank has no memory, where nothing can be made smaller
    FAILED = 8  # another rank broke


class SynchronizedExit(Exception):
    """Raised by all ranks at the same point: nobody is left to be told."""


class OutOfMemory(SynchronizedExit):
    """One example at a time does not fit either, or what is not made of examples."""


class LeaderExit(SynchronizedExit):
    """Rank 0 ended the trial."""


class TeamBroken(SynchronizedExit):
    """A rank broke or died: this process cannot go on with the others."""


class NoRoom(TeamBroken):
    """This rank ran out of memory where the others wait for it within a collective."""


@dataclass(frozen=True)
class Team:
    """One rank of it. Alone everything is as if there were no team."""

    rank: int = 0
    size: int = 1
    hand_over: Callable[[Path], None] = lambda folder: None  # rank 0: the others begin this task
    shards: bool = False  # each holds a part of the model while it trains: see sharding.py

    @property
    def leads(self) -> bool:
        return self.rank == 0

    @contextmanager
    def together(self, folder: Path) -> Iterator[None]:
        """The stretch of the task in ``folder`` in which ranks meet: who leaves it tells the others."""
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
        """What counts for all ranks. Raises LeaderExit, OutOfMemory or TeamBroken where one is gone."""
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
        """This rank's part of a step's sequences: every ``size``-th, the longest first."""
        order = sorted(indices, key=lambda index: (-lengths[index], index))
        return order[self.rank :: self.size]

    def sums(self, values: Sequence[float]) -> list[float]:
        """Each of ``values`` summed over ranks."""
        if self.size == 1:
            return list(values)
        import torch

        summed = torch.tensor(values, dtype=torch.float64)
        self._reduce([summed], "SUM")
        return summed.tolist()

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Exact but for the order of the sum; one that no rank has a gradient for keeps none."""
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
        """What is trained, and buffers (masks), as rank 0 has them: hardware may round a choice

        that a method makes by gradients in another way. Raises SynchronizedExit where shapes differ.
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
        """Dropout of this step: rank 0's goes on as it would alone, the others' depends on the step

        alone, so that no state of theirs belongs into a checkpoint.
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
        except RuntimeError as error:  # the connection to who died
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
