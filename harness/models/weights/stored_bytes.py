"""Storage size of a model's weights, including the constants of quantization."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.models.text_layers import linear_layers

if TYPE_CHECKING:
    from torch import Tensor, nn


def stored_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return name → tensor of all parameters, buffers and quantization constants, tied ones once.

    bitsandbytes stores its scales outside parameters and buffers. torchao stores a weight as
    several tensors.
    """
    stored: dict[str, Tensor] = {}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        stored |= _parts(name, tensor)
    for name, module in model.named_modules():
        scales = _int8_scales(module)
        if scales is not None:
            stored[f"{name}.weight.scales"] = scales
    return stored


def stored_bytes(model: nn.Module) -> int:
    """Return the bytes of all stored tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in stored_tensors(model).values())


def quantizable_layers(model: nn.Module) -> dict[str, Any]:
    """Return name → layer that quantization applies to: linear layers except the output layer."""
    return {name: m for name, m in linear_layers(model).items() if m.weight.ndim == 2}


def bits(model: nn.Module) -> dict[str, float]:
    """Return mean bits per weight, scales included, and the share of weights that can be quantized.

    ``bits_per_parameter`` covers all weights, ``bits_per_linear_weight`` the linear layers, which
    quantization applies to. ``linear_share`` is their share of all weights. The rest are
    embeddings, norms, the output layer and the experts of a mixture.
    """
    n_linear = sum(_n_weights(module) for module in quantizable_layers(model).values())
    n_weights = sum(number_of_weights(p) for p in model.parameters())
    scales = [_int8_scales(module) for module in model.modules()]
    stored = sum(_bytes(p) for p in model.parameters()) + sum(_bytes(s) for s in scales)
    return {
        "bits_per_parameter": 8 * stored / n_weights,
        "bits_per_linear_weight": _bits_per_linear_weight(model),
        "linear_share": n_linear / n_weights,
    }


def number_of_weights(parameter: Tensor) -> int:
    """Return the number of entries of ``parameter``, unpacked if it is quantized."""
    state: Any = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else state.shape.numel()


def _bits_per_linear_weight(model: nn.Module) -> float:
    """Return the mean bits per weight of the linear layers, with block scales.

    NF4 in blocks of 64 has 4 + 32/64 = 4.5 bits. Double quantization in blocks of 256 has 4 + 8/64
    + 32/(64·256) = 4.127 bits (arXiv:2305.14314, §3). Code books and the offset of each layer are
    not included, because their size is constant. ``stored_bytes`` includes them.
    """
    layers = quantizable_layers(model).values()
    stored = sum(_bytes(layer.weight) + _bytes(_int8_scales(layer)) for layer in layers)
    return 8 * stored / max(1, sum(map(_n_weights, layers)))


def _n_weights(layer: Any) -> int:
    """Return the number of weights of a layer."""
    return number_of_weights(layer.weight)


def _bytes(tensor: Tensor | None) -> int:
    """Return the bytes of ``tensor`` with its block scales; 0 for None."""
    if tensor is None:
        return 0
    state: Any = getattr(tensor, "quant_state", None)
    tensors = [tensor]
    if state is not None:
        tensors += [state.absmax, *([state.state2.absmax] if state.nested else [])]
    return sum(t.numel() * t.element_size() for t in tensors)


def _parts(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """Return the tensors that store ``tensor``, by name."""
    state: Any = getattr(tensor, "quant_state", None)
    if state is not None:  # bitsandbytes, 4 bits
        parts = state.as_dict(packed=True)
        return {name: tensor} | {f"{name}.{part}": values for part, values in parts.items()}
    if hasattr(tensor, "__tensor_flatten__"):  # torchao
        names, _ = tensor.__tensor_flatten__()
        return {f"{name}.{part}": getattr(tensor, part) for part in names}
    return {name: tensor}


def _int8_scales(module: nn.Module) -> Tensor | None:
    """Return the row scales of an int8 layer. Its first pass moves them from weight to layer state."""
    weight = module._parameters.get("weight")  # module.weight of an adapter is its base layer's
    if weight is None or str(weight.dtype) != "torch.int8":
        return None
    scales = getattr(weight, "SCB", None)
    return scales if scales is not None else getattr(module.state, "SCB", None)
