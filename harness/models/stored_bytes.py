"""Storage size of weights: every stored tensor, including quantization constants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.models.views import output_layer

if TYPE_CHECKING:
    from torch import Tensor, nn


def stored_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return parameters, buffers and quantization constants of ``model`` by name, tied ones once.

    bitsandbytes keeps its scales beside the weights, neither as parameters nor as buffers. The weights
    of torchao are tensors made of tensors.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        found |= _parts(name, tensor)
    for name, module in model.named_modules():
        scales = _int8_scales(module)
        if scales is not None:
            found[f"{name}.weight.scales"] = scales
    return found


def stored_bytes(model: nn.Module) -> int:
    """Return the bytes of all stored tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in stored_tensors(model).values())


def linear_layers(model: nn.Module) -> dict[str, Any]:
    """Return the layers that quantization applies to: all linear ones but the output layer."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    head = output_layer(model)
    kinds = (nn.Linear, Conv1D)  # layers of bitsandbytes are nn.Linear too
    found = {n: m for n, m in model.named_modules() if isinstance(m, kinds) and m is not head}
    return {n: m for n, m in found.items() if m.weight.ndim == 2}


def bits(model: nn.Module) -> dict[str, float]:
    """Return the mean bits per weight with scales, and the share of weights that is quantized.

    ``bits_per_parameter`` is over all weights. ``bits_per_linear_weight`` is over the linear layers,
    to which quantization applies; ``linear_share`` is their share of all weights. Embeddings, norms,
    the output layer and the experts of a mixture do not belong to them.
    """
    reached = sum(_weights(module) for module in linear_layers(model).values())
    every = sum(number_of_weights(p) for p in model.parameters())
    scales = [_int8_scales(module) for module in model.modules()]
    stored = sum(_bytes(p) for p in model.parameters()) + sum(_bytes(s) for s in scales)
    return {
        "bits_per_parameter": 8 * stored / every,
        "bits_per_linear_weight": _bits_per_linear_weight(model),
        "linear_share": reached / every,
    }


def number_of_weights(parameter: Tensor) -> int:
    """Return the number of entries of ``parameter``, for a packed one the unpacked entries."""
    state: Any = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else state.shape.numel()


def _bits_per_linear_weight(model: nn.Module) -> float:
    """Return the mean bits of a weight of the linear layers, with its share of the scales.

    NF4 in blocks of 64 has 4 + 32/64 = 4.5 bits. Double quantization in blocks of 256 has
    4 + 8/64 + 32/(64·256) = 4.127 bits (arXiv:2305.14314 §3). Code books and the one offset of each
    layer are not counted, because they do not grow with the layer. ``stored_bytes`` counts them.
    """
    layers = linear_layers(model).values()
    stored = sum(_bytes(layer.weight) + _bytes(_int8_scales(layer)) for layer in layers)
    return 8 * stored / max(1, sum(map(_weights, layers)))


def _weights(layer: Any) -> int:
    return number_of_weights(layer.weight)


def _bytes(tensor: Tensor | None) -> int:
    """Return the bytes of ``tensor``, including the scales of its blocks."""
    if tensor is None:
        return 0
    state: Any = getattr(tensor, "quant_state", None)
    held = [tensor]
    if state is not None:
        held += [state.absmax, *([state.state2.absmax] if state.nested else [])]
    return sum(t.numel() * t.element_size() for t in held)


def _parts(name: str, tensor: Tensor) -> dict[str, Tensor]:
    state: Any = getattr(tensor, "quant_state", None)
    if state is not None:  # bitsandbytes, 4 bits
        parts = state.as_dict(packed=True)
        return {name: tensor} | {f"{name}.{part}": values for part, values in parts.items()}
    if hasattr(tensor, "__tensor_flatten__"):  # torchao
        names, _ = tensor.__tensor_flatten__()
        return {f"{name}.{part}": getattr(tensor, part) for part in names}
    return {name: tensor}


def _int8_scales(module: nn.Module) -> Tensor | None:
    """Return the scales of bitsandbytes' 8 bits. The first pass moves them from weight to layer."""
    weight = module._parameters.get(
        "weight"
    )  # the module's own weight: an adapter around it returns the same one
    if weight is None or str(weight.dtype) != "torch.int8":
        return None
    scales = getattr(weight, "SCB", None)
    return scales if scales is not None else getattr(module.state, "SCB", None)
