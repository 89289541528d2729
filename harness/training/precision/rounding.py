"""Stochastic rounding: 16-bit weights without a 32-bit copy (``training.updates=bf16_stochastic``).

Rounding to nearest loses every update smaller than half the distance to the next number. Stochastic
rounding rounds up with probability equal to the remaining fraction, so that updates are correct in
expectation (Gupta et al. 2015, arXiv:1502.02551, §3; for bfloat16, Zamirai et al. 2020,
arXiv:2010.06192). With AdamW it needs 12 bytes per parameter instead of 18.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.models.weights.master_weights import truncate_to_bfloat16

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

CHUNK = 2**25  # entries converted to float32 at a time


class StochasticRounding:
    """Optimizer that steps in float32, a few tensors at a time, and rounds the result stochastically.

    ``inner`` is the wrapped optimizer, whose state has the dtypes of float32 parameters. The draws
    of a step depend on ``seed`` and the number of earlier steps, so a resumed run repeats them.
    """

    def __init__(self, inner: torch.optim.Optimizer, seed: int) -> None:
        self.inner, self._seed, self._steps = inner, seed, 0

    def __getattr__(self, name: str) -> Any:
        """Forward parameter groups, state and other attributes to ``inner``."""
        return getattr(self.inner, name)

    def step(self, closure: None = None) -> None:
        """Step each tensor as if it were in float32, then round it to its own dtype."""
        import torch

        generators: dict[str, torch.Generator] = {}
        gradients = {p: p.grad for p in self._parameters() if p.grad is not None}
        for parameter in gradients:
            parameter.grad = None  # the optimizer skips parameters without a gradient
        for chunk in _chunks(gradients):
            weights = {parameter: parameter.data for parameter in chunk}
            for parameter in chunk:
                parameter.data = parameter.data.float()
                parameter.grad = gradients[parameter].float()
            self.inner.step()
            for parameter, weight in weights.items():
                parameter.grad, stepped = None, parameter.data
                if weight.dtype == torch.bfloat16:
                    generator = generators.setdefault(str(weight.device), self._generator(weight))
                    weight.copy_(rounded(stepped, generator))
                parameter.data = weight
        for parameter, gradient in gradients.items():
            parameter.grad = gradient
        self._steps += 1

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.inner.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        return {**self.inner.state_dict(), "rounded_steps": self._steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the state into ``inner`` in float32, whatever the dtype of the parameters."""
        import torch

        inner = dict(state)
        self._steps = inner.pop("rounded_steps", 0)
        weights = {parameter: parameter.data for parameter in self._parameters()}
        for parameter in weights:
            parameter.data = torch.empty(0, device=parameter.device)
        try:
            self.inner.load_state_dict(inner)
        finally:
            for parameter, weight in weights.items():
                parameter.data = weight

    def _parameters(self) -> list[nn.Parameter]:
        return [p for group in self.inner.param_groups for p in group["params"]]

    def _generator(self, like: Tensor) -> torch.Generator:
        import torch

        seed = np.random.SeedSequence((self._seed, 19, self._steps)).generate_state(1, np.uint64)
        return torch.Generator(like.device).manual_seed(int(seed[0] >> np.uint64(1)))


def rounded(values: Tensor, generator: torch.Generator) -> Tensor:
    """Round float32 ``values`` stochastically to bfloat16, up or down.

    The expectation over draws is the value itself. Values that bfloat16 represents exactly are
    unchanged.
    """
    import torch

    options = {"dtype": torch.int32, "device": values.device, "generator": generator}
    return truncate_to_bfloat16(values, torch.randint(0, 1 << 16, values.shape, **options))


def _chunks(parameters: Iterator[nn.Parameter] | Any) -> Iterator[list[nn.Parameter]]:
    """Yield lists of parameters with at most ``CHUNK`` entries together, or a single larger one."""
    chunk: list[nn.Parameter] = []
    entries = 0
    for parameter in parameters:
        if chunk and entries + parameter.numel() > CHUNK:
            yield chunk
            chunk, entries = [], 0
        chunk.append(parameter)
        entries += parameter.numel()
    if chunk:
        yield chunk
