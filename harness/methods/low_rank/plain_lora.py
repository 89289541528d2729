"""Access to the layers and factors of plain LoRA, to train several adapters at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

ADAPTER = "default"  # peft's name of a trial's only adapter


def adapted_layers(model: nn.Module) -> dict[str, Any]:
    """Return peft's layers in ``model`` by name."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return {name: m for name, m in model.named_modules() if isinstance(m, BaseTunerLayer)}


def is_plain_lora(layer: Any) -> bool:
    """Return True if ``layer`` computes W₀x + s·BA·dropout(x) with linear A and B, and no more."""
    from peft.tuners.lora import LoraLayer
    from torch import nn

    if not isinstance(layer, LoraLayer) or layer.lora_variant or set(layer.lora_A) != {ADAPTER}:
        return False
    linear = (layer.lora_A[ADAPTER], layer.lora_B[ADAPTER])
    return all(isinstance(each, nn.Linear) and each.bias is None for each in linear)


def factors(layer: Any) -> tuple[nn.Parameter, nn.Parameter]:
    """Return A (r, d_in) and B (d_out, r)."""
    return layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight


def scale(layer: Any) -> float:
    """Return s: α/r, or α/√r with rsLoRA."""
    return float(layer.scaling[ADAPTER])


def dropout(layer: Any) -> float:
    """Return the probability of dropout."""
    return float(getattr(layer.lora_dropout[ADAPTER], "p", 0.0))
