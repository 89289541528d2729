"""Weights, gradients and AdamW of all members of a pack as rows of single tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

EPSILON = 1e-8  # of torch's AdamW


class Stack:
    """The S adapter tensors of K members, padded with zeros to equal shapes.

    ``values`` and ``gradients`` are (K, N), one row for each member. ``parameters`` are S views of
    shape (K, …) into the values. Padding gets no gradient, so it stays zero.
    """

    def __init__(self, tensors: Sequence[Sequence[Tensor]]) -> None:
        """``tensors[k][s]`` is tensor s of member k; each s has as many dimensions for all k."""
        self._own_shapes = [[tuple(tensor.shape) for tensor in own] for own in tensors]
        slots = zip(*self._own_shapes, strict=True)
        self._shapes = [tuple(map(max, zip(*shapes, strict=True))) for shapes in slots]
        self.sizes = [math.prod(shape) for shape in self._shapes]
        first = tensors[0][0]
        self.values = first.new_zeros(len(tensors), sum(self.sizes), dtype=torch.float32)
        self._means, self._squares = torch.zeros_like(self.values), torch.zeros_like(self.values)
        for k, own in enumerate(tensors):
            for view, tensor in zip(self._own(self.values, k), own, strict=True):
                view.copy_(tensor.detach())
        self.gradients = torch.zeros_like(self.values)
        self.parameters = [nn.Parameter(view) for view in self._views(self.values)]

    def take_gradients(self) -> None:
        """Move the gradients of ``parameters`` to ``gradients``; a missing one counts as zero."""
        for parameter, own in zip(self.parameters, self._views(self.gradients), strict=True):
            if parameter.grad is None:
                own.zero_()
            else:
                own.copy_(parameter.grad)
            parameter.grad = None

    def _views(self, flat: Tensor) -> list[Tensor]:
        parts = flat.split(self.sizes, dim=1)
        return [part.view(-1, *shape) for part, shape in zip(parts, self._shapes, strict=True)]

    def _own(self, flat: Tensor, k: int) -> list[Tensor]:
        """Return views of the tensors of member ``k``, without padding."""
        views = zip(self._views(flat), self._own_shapes[k], strict=True)
        return [view[k][tuple(slice(n) for n in shape)] for view, shape in views]

    def weights(self, k: int) -> list[Tensor]:
        """Return views of the S weights of member ``k``."""
        return self._own(self.values, k)

    def moments(self, k: int) -> list[tuple[Tensor, Tensor]]:
        """Return views of AdamW's first and second moments of member ``k``."""
        pairs = zip(self._own(self._means, k), self._own(self._squares, k), strict=True)
        return list(pairs)

    def keep(self, places: Sequence[int]) -> None:
        """Keep only the members at ``places``, with their gradients and moments."""
        chosen = torch.tensor(places, device=self.values.device)
        self._own_shapes = [self._own_shapes[k] for k in places]
        self.values = self.values[chosen]
        self._means, self._squares = self._means[chosen], self._squares[chosen]
        self.gradients = self.gradients[chosen]
        self.parameters = [nn.Parameter(view) for view in self._views(self.values)]

    def clip(self, max_norms: Sequence[float | None]) -> list[float]:
        """Clip each member's gradients to its own norm and return the norms before clipping."""
        norms = torch.linalg.vector_norm(self.gradients, dim=1)
        limits = norms.new_tensor([math.inf if most is None else most for most in max_norms])
        self.gradients.mul_((limits / (norms + 1e-6)).clamp(max=1.0)[:, None])
        return norms.tolist()

    def forget(self, rates: Sequence[Sequence[float]]) -> None:
        """Set the gradients of tensors at rate 0 to zero: such a tensor is frozen."""
        if any(rate == 0 for own in rates for rate in own):
            self.gradients.mul_(self._entries([[float(rate != 0) for rate in o] for o in rates]))

    def adamw(
        self,
        rates: Sequence[Sequence[float]],
        decays: Sequence[float],
        betas: Sequence[tuple[float, float]],
        step: int,
    ) -> None:
        """Take step ``step`` (from 1) of AdamW (arXiv:1711.05101, Algorithm 2) for all members.

        ``rates[k][s]`` is the learning rate of tensor s of member k.
        """
        rate, gradients = self._entries(rates), self.gradients
        beta1, beta2 = (self._column([pair[i] for pair in betas]) for i in (0, 1))
        bias1 = self._column([1 - first**step for first, _ in betas])
        root2 = self._column([math.sqrt(1 - second**step) for _, second in betas])
        self.values.mul_(1 - rate * self._column(decays))
        self._means.lerp_(gradients, 1 - beta1)
        self._squares.mul_(beta2).add_(gradients * gradients * (1 - beta2))
        root = self._squares.sqrt().div_(root2).add_(EPSILON)
        self.values.sub_(self._means * (rate / bias1) / root)

    def _column(self, numbers: Sequence[float]) -> Tensor:
        return self.values.new_tensor(numbers)[:, None]

    def _entries(self, numbers: Sequence[Sequence[float]]) -> Tensor:
        """Return numbers by member and tensor for each entry: (K, 1) if one serves a member."""
        if all(len(set(own)) == 1 for own in numbers):
            return self._column([own[0] for own in numbers])
        sizes = torch.tensor(self.sizes, device=self.values.device)
        return self.values.new_tensor(numbers).repeat_interleave(sizes, dim=1)
