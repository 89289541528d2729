"""Training of selected entries of a model's tensors, all others frozen.

The dense tensors are frozen. The values of selected entries are separate parameters, and the
optimizer has only these. It stores no state for other entries, and weight decay and momentum do not
change them. A dense gradient exists only during the backward pass of one tensor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from harness.models.weights.master_weights import as_computed

FILE = "mask.safetensors"


class SelectedEntries(nn.Module):
    """Parametrization of one tensor: unchanged in the forward pass, with gradients for ``values``.

    ``values`` (k,) are the entries at ``index`` (k,) of the flattened tensor. For 16-bit tensors
    they are float32, as peft keeps adapters, so that small steps accumulate.
    """

    values: nn.Parameter
    index: Tensor

    def __init__(self, dense: Tensor, index: Tensor) -> None:
        super().__init__()
        entries = dense.detach().flatten()[index]
        self.values = nn.Parameter(entries.to(torch.promote_types(dense.dtype, torch.float32)))
        short = torch.int32 if dense.numel() < 2**31 else torch.int64
        self.register_buffer("index", index.to(dense.device, short))

    def forward(self, dense: Tensor) -> Tensor:
        return _Identity.apply(self.values, dense, self.index)

    @torch.no_grad()
    def write(self, dense: Tensor) -> None:
        """Write the values into the dense tensor, in place."""
        flat = dense.view(-1)
        flat.index_copy_(0, self.index.long(), as_computed(self.values, flat.dtype, self.index))


class _Identity(torch.autograd.Function):
    """Identity on the dense tensor without a copy. Its gradient is gathered at the index and freed."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, dense: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.dtype = values.dtype
        return dense.view_as(dense)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (index,) = ctx.saved_tensors
        return gradients[0].flatten()[index].to(ctx.dtype), None, None


def attach(model: nn.Module, chosen: Mapping[str, Tensor]) -> None:
    """Train only the entries at ``chosen`` (parameter name → (k,) indices). Changes ``model`` in place.

    A tensor shared by several modules has one set of values, which gets all their gradients.
    """
    model.requires_grad_(False)
    named = dict(model.named_parameters())
    masks = {
        id(named[name]): SelectedEntries(named[name], indices)
        for name, indices in chosen.items()
        if len(indices)
    }
    for module in list(model.modules()):
        for attribute, parameter in list(module.named_parameters(recurse=False)):
            mask = masks.get(id(parameter))
            if mask is not None:
                parametrize.register_parametrization(module, attribute, mask, unsafe=True)


class MaskedTensor(NamedTuple):
    """A tensor with selected entries."""

    name: str  # name in the base
    dense: Tensor
    mask: SelectedEntries


def masked_tensors(model: nn.Module) -> Iterator[MaskedTensor]:
    """Yield every tensor with selected entries, shared ones once."""
    seen = set()
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module):
            for attribute, parts in cast(nn.ModuleDict, module.parametrizations).items():
                if parts[0] not in seen:
                    seen.add(parts[0])
                    yield MaskedTensor(
                        f"{name}.{attribute}", cast(Tensor, parts.original), parts[0]
                    )


def write(model: nn.Module) -> None:
    """Write the current values into all dense tensors."""
    for tensor in masked_tensors(model):
        tensor.mask.write(tensor.dense)


def take_off(model: nn.Module) -> None:
    """Restore the base's own modules in place. Tensors keep the current values."""
    for module in list(model.modules()):
        if parametrize.is_parametrized(module):
            for attribute in list(cast(nn.ModuleDict, module.parametrizations)):
                parametrize.remove_parametrizations(module, attribute, leave_parametrized=False)


def base_name(name: str) -> str:
    """Return the base's name of a parameter or buffer of a masked model."""
    return name.replace(".parametrizations.", ".").removesuffix(".original")


def base_state(model: nn.Module) -> dict[str, Tensor]:
    """Return ``state_dict`` with the base's names. Changed tensors have the dtype of the values."""
    mask_suffixes = (".0.values", ".0.index")
    state: dict[str, Tensor] = dict(model.state_dict())
    dense_tensors = {
        base_name(name): t for name, t in state.items() if not name.endswith(mask_suffixes)
    }
    exact: dict[int, Tensor] = {}  # data pointer of the dense tensor → full tensor
    sixteen_bit = [t for t in masked_tensors(model) if t.mask.values.dtype != t.dense.dtype]
    for _, dense, mask in sixteen_bit:
        full = dense.detach().to(mask.values.dtype, copy=True)
        full.view(-1).index_copy_(0, mask.index.long(), mask.values.detach())
        exact[dense.data_ptr()] = full
    return {name: exact.get(tensor.data_ptr(), tensor) for name, tensor in dense_tensors.items()}


def save(model: nn.Module, folder: Path) -> None:
    """Save ``mask.safetensors`` with index and values of each tensor, a difference to the base."""
    from safetensors.torch import save_file

    tensors = {}
    for name, _, mask in masked_tensors(model):
        tensors[f"{name}.index"] = mask.index.cpu()
        tensors[f"{name}.values"] = mask.values.detach().cpu()
    save_file(tensors, folder / FILE)


def places(model: nn.Module) -> dict[str, Tensor]:
    """Return name in the base → sorted (k,) indices of the selected entries."""
    return {tensor.name: tensor.mask.index for tensor in masked_tensors(model)}


def overlap(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float:
    """Return the Jaccard index |A ∩ B| / |A ∪ B| of two masks.

    1 if they are equal. Random masks that each keep a share q have q / (2 − q) on average.
    """
    intersection = sum(
        int(torch.isin(first[name], second[name]).sum()) for name in first if name in second
    )
    union = sum(len(indices) for indices in (*first.values(), *second.values())) - intersection
    return intersection / union
