"""Share of the base's weights that a method reaches, with the layers it adapts and leaves out."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from harness.models.stored_bytes import number_of_weights

if TYPE_CHECKING:
    from torch import nn

    from harness.methods.base import Method


@dataclass(frozen=True)
class Coverage:
    """Coverage of a method. Shares are relative to all weights of the base."""

    layers: dict[str, int]  # what adapted layers are called, and how many are called so
    adapted_share: (
        float  # weights of the layers that adapters lie beside, or that are trained themselves
    )
    stacked_share: float  # weights of matrices that lie in one 3-D tensor, as those of experts do

    def describe(self) -> dict[str, Any]:
        return asdict(self)


def stacked_share(model: nn.Module) -> float:
    """Return the share of ``model``'s weights in matrices stacked in 3-D tensors: no linear layers.

    Transformers 5 stores the experts of a mixture in this way. A convolution's kernel is not
    counted: its middle dimension is 1.
    """
    stacked = every = 0
    for parameter in model.parameters():
        n = number_of_weights(parameter)
        every += n
        stacked += n if parameter.ndim == 3 and min(parameter.shape) > 1 else 0
    return stacked / every


def coverage(tuned: nn.Module, weights: int, stacked: float) -> Coverage:
    """Measure a ``tuned`` model.

    ``stacked`` is the share of its base's ``weights`` in stacked matrices.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers: Counter[str] = Counter()
    adapted = 0
    for name, module in tuned.named_modules():
        if isinstance(module, BaseTunerLayer):
            layers[name.rpartition(".")[2]] += 1
            adapted += sum(number_of_weights(p) for p in module.get_base_layer().parameters())
    if not layers and not hasattr(tuned, "peft_config"):
        adapted = sum(p.numel() for p in tuned.parameters() if p.requires_grad)
    return Coverage(dict(layers), round(adapted / weights, 6), round(stacked, 6))


def caution(method: Method, stacked: float) -> str | None:
    """Return a caution for a ``method`` that adapts layers, where weights lie in stacked matrices."""
    if not stacked or not hasattr(method, "target_modules"):
        return None
    return (
        f"{stacked:.0%} of the model's weights are stacked matrices, as those of a mixture's experts, "
        "and no linear layers: method.target_modules does not mean them, and quantization leaves them "
        "as they are"
    )
