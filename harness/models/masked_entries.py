"""Training of chosen entries of a model's tensors, and of nothing else. Imports torch.

The dense tensors stay frozen. The values of the chosen entries are separate parameters, and the
optimizer has only these: it keeps no state for other entries, and neither weight decay nor momentum
changes them. A dense gradient exists only during the backward pass of one tensor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from harness.models.precision import as_computed

FILE = "mask.safetensors"


class Chosen(nn.Module):
    """Parametrization of one tensor: itself, with gradients for ``values`` (k,) at ``index`` (k,).

    ``index`` counts in the flattened tensor. If the tensor is in half precision, the values are kept
    in 32 bits, as peft keeps adapters, so that small steps accumulate before they are rounded.
    """

    values: nn.Parameter
    index: Tensor

    def __init__(self, dense: Tensor, index: Tensor) -> None:
        super().__init__()
        kept = dense.detach().flatten()[index]
        self.values = nn.Parameter(kept.to(torch.promote_types(dense.dtype, torch.float32)))
        short = torch.int32 if dense.numel() < 2**31 else torch.int64
        self.register_buffer("index", index.to(dense.device, short))

    def forward(self, dense: Tensor) -> Tensor:
        return _AsItStands.apply(self.values, dense, self.index)

    @torch.no_grad()
    def write(self, dense: Tensor) -> None:
        """Write the values into the dense tensor."""
        flat = dense.view(-1)
        flat.index_copy_(0, self.index.long(), as_computed(self.values, flat.dtype, self.index))


class _AsItStands(torch.autograd.Function):
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

    A tensor that several modules share has one set of values, which receives all their gradients.
    """
    model.requires_grad_(False)
    named = dict(model.named_parameters())
    masks = {id(named[name]): Chosen(named[name], at) for name, at in chosen.items() if len(at)}
    for module in list(model.modules()):
        for attribute, parameter in list(module.named_parameters(recurse=False)):
            mask = masks.get(id(parameter))
            if mask is not None:
                parametrize.register_parametrization(module, attribute, mask, unsafe=True)


class Attached(NamedTuple):
    """A tensor with chosen entries."""

    name: str  # in the base
    dense: Tensor
    mask: Chosen


def attached(model: nn.Module) -> Iterator[Attached]:
    """Yield (name in the base, dense tensor, mask) of every tensor with chosen entries, once each."""
    seen = set()
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module):
            for attribute, parts in cast(nn.ModuleDict, module.parametrizations).items():
                if parts[0] not in seen:
                    seen.add(parts[0])
                    yield Attached(f"{name}.{attribute}", cast(Tensor, parts.original), parts[0])


def write(model: nn.Module) -> None:
    """Write the current values into all dense tensors."""
    for one in attached(model):
        one.mask.write(one.dense)


def take_off(model: nn.Module) -> None:
    """Restore the base's own modules in place, with the current values in the tensors."""
    for module in list(model.modules()):
        if parametrize.is_parametrized(module):
            for attribute in list(cast(nn.ModuleDict, module.parametrizations)):
                parametrize.remove_parametrizations(module, attribute, leave_parametrized=False)


def base_name(name: str) -> str:
    """Return the base's name for a parameter or buffer of a masked model."""
    return name.replace(".parametrizations.", ".").removesuffix(".original")


def base_state(model: nn.Module) -> dict[str, Tensor]:
    """Return ``state_dict`` under the base's names, with changed tensors in the dtype of the values."""
    ours = (".0.values", ".0.index")
    state: dict[str, Tensor] = dict(model.state_dict())
    found = {base_name(name): t for name, t in state.items() if not name.endswith(ours)}
    exact: dict[int, Tensor] = {}  # by address of the dense tensor, which two names may share
    halves = [one for one in attached(model) if one.mask.values.dtype != one.dense.dtype]
    for _, dense, mask in halves:
        whole = dense.detach().to(mask.values.dtype, copy=True)
        whole.view(-1).index_copy_(0, mask.index.long(), mask.values.detach())
        exact[dense.data_ptr()] = whole
    return {name: exact.get(tensor.data_ptr(), tensor) for name, tensor in found.items()}


def save(model: nn.Module, folder: Path) -> None:
    """Save ``mask.safetensors``: index and values by tensor. With the base they are the tuned model."""
    from safetensors.torch import save_file

    tensors = {}
    for name, _, mask in attached(model):
        tensors[f"{name}.index"] = mask.index.cpu()
        tensors[f"{name}.values"] = mask.values.detach().cpu()
    save_file(tensors, folder / FILE)


def places(model: nn.Module) -> dict[str, Tensor]:
    """Return name in the base → (k,) indices of the chosen entries, in order."""
    return {one.name: one.mask.index for one in attached(model)}


def overlap(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float:
    """Return the Jaccard index |A ∩ B| / |A ∪ B| of two masks: 1 if they are equal.

    Two random masks that each keep a share q have q / (2 − q) on average.
    """
    both = sum(int(torch.isin(first[name], second[name]).sum()) for name in first if name in second)
    either = sum(len(at) for at in (*first.values(), *second.values())) - both
    return both / either
