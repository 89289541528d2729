"""Share of the base's weights that a method adapts, and names of the adapted layers."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from harness.language import recorded
from harness.models.weights.stored_bytes import number_of_weights

if TYPE_CHECKING:
    from torch import nn

    from harness.methods.base import Method


@dataclass(frozen=True)
class Coverage:
    """Adapted layers of a tuned model. Shares are relative to all weights of the base."""

    layers: dict[str, int]  # last part of a layer's name → number of adapted layers
    adapted_share: float  # weights that are trained, or that belong to a layer with an adapter
    stacked_share: float  # weights in 3-D tensors, such as those of experts

    def describe(self) -> dict[str, Any]:
        """Return the fields as plain values for the record."""
        return asdict(self)


def stacked_share(model: nn.Module) -> float:
    """Return the share of ``model``'s weights in 3-D tensors, which are not linear layers.

    Transformers 5 stores the experts of a mixture in this way. Convolution kernels do not count:
    their middle dimension is 1.
    """
    stacked = total = 0
    for parameter in model.parameters():
        n = number_of_weights(parameter)
        total += n
        stacked += n if parameter.ndim == 3 and min(parameter.shape) > 1 else 0
    return stacked / total


def coverage(tuned: nn.Module, weights: int, stacked: float) -> Coverage:
    """Measure the coverage of a ``tuned`` model.

    ``weights`` is the number of weights of its base, ``stacked`` their share in 3-D tensors.
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
    """Return a warning if ``method`` adapts linear layers but a share ``stacked`` is in 3-D tensors."""
    if not stacked or not hasattr(method, "target_modules"):
        return None
    return recorded(
        "{share:.0%} of the model's weights are matrices stacked in 3-D tensors, such as those of a "
        "mixture's experts. They are not linear layers: method.target_modules does not reach them, and "
        "quantization leaves them unchanged",
        share=stacked,
    )
